"""Trained models in ONNX form: loading, checking, and falling back to a formula."""
