"""Named crash points: heard by whoever listens, deadly to a process that was told to die there."""

import subprocess
import sys
from pathlib import Path

from sep_ray.kernel import points
from sep_ray.kernel.points import Point, reached

PASSING = """
import sys
from pathlib import Path
from sep_ray.adapters.mortal import heed
from sep_ray.kernel.points import Point, reached
heed(Path(sys.argv[1]))
reached(Point.SIGNED)
reached(Point.PREPARED)
print("alive")
"""


def pass_by(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PASSING, str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_whoever_listens_hears_of_a_point_and_nobody_else_pays() -> None:
    heard: list[Point] = []
    before = points.listen(heard.append)
    reached(Point.SENT)
    points.listen(before)
    reached(Point.SENT)
    assert heard == [Point.SENT]


def test_a_process_dies_once_where_it_was_told_to(tmp_path: Path) -> None:
    assert pass_by(tmp_path).stdout == "alive\n"
    order = tmp_path / Point.PREPARED.value
    order.touch()
    died = pass_by(tmp_path)
    assert (died.returncode, died.stdout) == (-9, "")
    assert not order.exists()
    assert pass_by(tmp_path).stdout == "alive\n"
