"""The Strategy Execution Platform's core.

    intent -> priority -> decomposition -> routing -> execution -> settlement

Each arrow is a package; each package imports only those to its left (and kernel).
Start with pipeline.py, then read the packages in that order.
"""

__version__ = "0.1.0"
