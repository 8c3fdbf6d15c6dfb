"""Build hook: the trained models travel inside the wheel as `sep_ray/_models/<name>/`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ARTEFACTS = ("model.onnx", "model.json", "golden.json")


def artefacts(root: Path) -> dict[str, str]:
    """Map each artefact present under `models/` to its place in the wheel."""
    found = (file for name in ARTEFACTS for file in sorted(root.glob(f"models/*/{name}")))
    return {str(file): f"sep_ray/_models/{file.parent.name}/{file.name}" for file in found}


class ModelsHook(BuildHookInterface):  # type: ignore[type-arg]  # its parameter is never used
    """Adds the artefacts to a real wheel; an editable install reads `models/` where it lies."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version != "editable":
            build_data["force_include"].update(artefacts(Path(self.root)))
