"""P3, P11: a real strategy actor, killed again and again, sees and submits everything once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from serve_app.ray_environment import ray_environment


def test_p3_p11_a_strategy_actor_killed_again_and_again_submits_each_intent_once(
    tmp_path: Path, database_url: str
) -> None:
    result = tmp_path / "result.json"
    subprocess.run(
        [sys.executable, "-m", "tests.ray.strategy_drill", str(result)],
        env={**os.environ, **ray_environment(tmp_path), "SEP_POSTGRES_URL": database_url},
        check=True,
        timeout=180,
        cwd=Path(__file__).parents[2],
    )
    left = json.loads(result.read_text())
    assert len(set(left["pids"])) == 4
    for strategy in left["strategies"].values():
        assert strategy["blocks"] == list(range(strategy["blocks"][0], left["blocks"] + 1))
        assert strategy["intents"] == strategy["submitted"]
        assert len(strategy["intents"]) == len(strategy["blocks"])
