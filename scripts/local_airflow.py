"""Airflow on a laptop: SQLite, LocalExecutor, four processes on loopback, one folder per bank.

    weekly     one run of weekly_promotion for a Monday, then what happened and where to look
    up         the web page and the scheduler until Ctrl-C
    answer     Approve or Reject a waiting sign-off
    backfill   past Mondays, oldest first
    exec       any airflow command in this place: exec dags list

Everything lies under var/<dataset>: delete the folder and it never happened. Standard library only, so that it runs
before anything else is installed correctly. Production starts the same processes from docker-compose.yml.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
DAG = "weekly_promotion"
USERS = {"admin": "admin", "oncall": "op", "risk": "op", "viewer": "viewer"}
POOLS = {"gpu": "one training at a time", "promotion": "one change of champion at a time"}
COMPONENTS = {
    "api-server": [],
    "dag-processor": [],
    "scheduler": ["--skip-serve-logs"],  # the log server would listen on every interface
    "triggerer": ["--skip-serve-logs"],
}
START_SECONDS, STOP_SECONDS, POLL_SECONDS = 180, 20, 2
# An answer that lands within one scheduler loop of the question can fail the task: robots wait before they answer.
SETTLE_SECONDS = 3
MIN_REASON = 10


class Place:
    """One bank's folder, its environment and its server."""

    def __init__(self, dataset: str, source: str | None, port: int) -> None:
        self.dataset, self.port = dataset, port
        self.home = Path(os.environ.get("PIPELINE_HOME", REPO / "var" / dataset))
        self.airflow = self.home / "airflow"
        self.url = f"http://127.0.0.1:{port}"
        self._remember_source(source)

    def environment(self) -> dict[str, str]:
        own = {
            "AIRFLOW_HOME": str(self.airflow),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_FOLDER": str(REPO / "dags"),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(REPO / "plugins"),
            "AIRFLOW__CORE__PARALLELISM": "2",
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "True",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{n}:{r}" for n, r in USERS.items()),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(self.airflow / "passwords.json"),
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(self.port),
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__API_AUTH__JWT_SECRET": self._secret("jwt"),
            "AIRFLOW__API__SECRET_KEY": self._secret("api"),
            "AIRFLOW__CORE__FERNET_KEY": self._secret("fernet"),
            "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
            "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "30",
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
            "PYTHONPATH": str(REPO),
            "OMP_NUM_THREADS": "2",
            "PIPELINE_DATASET": self.dataset,
            "PIPELINE_HOME": str(self.home),
        }
        if source := self._source():
            own["PIPELINE_SOURCE"] = source
        return {**os.environ, **own, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}

    def set_up(self) -> None:
        """Keys, users, database and pools: what is there is kept."""
        self.airflow.mkdir(parents=True, exist_ok=True)
        self.run([str(BIN / "pipeline"), "keys", "init"])
        passwords = self.airflow / "passwords.json"
        if not passwords.exists():
            passwords.write_text(json.dumps({name: secrets.token_urlsafe(12) for name in USERS}))
            passwords.chmod(0o600)
        stamp = self.airflow / ".ready"
        if not stamp.exists():
            self.run_airflow("db", "migrate")
            for pool, why in POOLS.items():
                self.run_airflow("pools", "set", pool, "1", why)
            self.run_airflow("dags", "reserialize")
            stamp.touch()

    def run(self, command: list[str]) -> None:
        done = subprocess.run(command, env=self.environment(), cwd=REPO, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")

    def run_airflow(self, *arguments: str) -> None:
        self.run([str(BIN / "airflow"), *arguments])

    @contextmanager
    def running(self):
        """The server, started here unless it runs already; only what was started is stopped."""
        if self.healthy():
            yield
            return
        self.set_up()
        logs = self.airflow / "logs"
        logs.mkdir(exist_ok=True)
        children = []
        try:
            for name, flags in COMPONENTS.items():
                with open(logs / f"{name}.log", "ab") as log:
                    children.append(
                        subprocess.Popen(
                            [str(BIN / "airflow"), name, *flags],
                            env=self.environment(),
                            cwd=REPO,
                            stdout=log,
                            stderr=log,
                            start_new_session=True,
                        )
                    )
            self._wait_until_healthy(children, logs)
            yield
        finally:
            _stop(children)

    def healthy(self) -> bool:
        try:
            parts = self.call("GET", "/api/v2/monitor/health", token=False)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False
        return all(parts[part]["status"] == "healthy" for part in ("metadatabase", "scheduler", "dag_processor"))

    def call(self, method: str, path: str, body: dict | None = None, token: bool = True, user: str = "admin") -> dict:
        headers = {"Content-Type": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {self._token(user)}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, headers=headers, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read()
        return json.loads(text) if text else {}

    def password(self, user: str) -> str:
        return json.loads((self.airflow / "passwords.json").read_text())[user]

    def _token(self, user: str) -> str:
        login = {"username": user, "password": self.password(user)}
        return self.call("POST", "/auth/token", login, token=False)["access_token"]

    def _wait_until_healthy(self, children: list[subprocess.Popen], logs: Path) -> None:
        for _ in range(START_SECONDS):
            if self.healthy():
                return
            if any(child.poll() is not None for child in children):
                raise SystemExit(f"an Airflow process stopped while starting; see {logs}")
            time.sleep(1)
        raise SystemExit(f"Airflow did not become healthy in {START_SECONDS} s; see {logs}")

    def _secret(self, name: str) -> str:
        file = self.airflow / f"{name}.secret"
        if not file.exists():
            self.airflow.mkdir(parents=True, exist_ok=True)
            import base64

            file.touch(mode=0o600)
            file.write_text(base64.urlsafe_b64encode(secrets.token_bytes(32)).decode())
        return file.read_text() * (2 if name == "jwt" else 1)

    def _source(self) -> str | None:
        file = self.home / "source"
        return file.read_text() if file.exists() else None

    def _remember_source(self, source: str | None) -> None:
        if source:
            self.home.mkdir(parents=True, exist_ok=True)
            (self.home / "source").write_text(str(Path(source).resolve()))


def weekly(place: Place, monday: date) -> int:
    """One run, its progress, its result. Exit 0: green or waiting for a human; 1: red."""
    with place.running():
        run_id = _start(place, monday)
        print(f"{DAG} {monday} ({place.dataset}): {place.url}/dags/{DAG}/runs/{run_id}", flush=True)
        state = _follow(place, run_id)
        if state == "awaiting_input":
            print(_how_to_answer(place, run_id))
            state = _follow(place, run_id, until_answered=True) if sys.stdin.isatty() else state
    if state == "failed":
        _print_failures(place, run_id)
        return 1
    subprocess.run([str(BIN / "pipeline"), "summary", "--date", str(monday)], env=place.environment(), check=False)
    return 0


def _start(place: Place, monday: date) -> str:
    """Trigger the run of that Monday, or repeat it when there is one: every stage is idempotent."""
    moment = datetime(monday.year, monday.month, monday.day, 3) - timedelta(hours=9)  # 03:00 in Seoul, as UTC
    place.call("PATCH", f"/api/v2/dags/{DAG}", {"is_paused": False})
    body = {
        "logical_date": moment.replace(tzinfo=UTC).isoformat(),
        "dag_run_id": f"weekly_{monday}",
        "conf": {"promotable": True},
    }
    try:
        return place.call("POST", f"/api/v2/dags/{DAG}/dagRuns", body)["dag_run_id"]
    except urllib.error.HTTPError as error:
        if error.code != 409:
            raise
    found = place.call(
        "GET",
        f"/api/v2/dags/{DAG}/dagRuns?logical_date_gte={body['logical_date'].replace('+', '%2B')}"
        f"&logical_date_lte={body['logical_date'].replace('+', '%2B')}",
    )["dag_runs"]
    run = found[0]
    if run["state"] not in {"queued", "running"}:
        print(f"{monday} ran before: repeating it")
        place.call("POST", f"/api/v2/dags/{DAG}/dagRuns/{run['dag_run_id']}/clear", {"dry_run": False})
    return run["dag_run_id"]


def _follow(place: Place, run_id: str, until_answered: bool = False) -> str:
    """Print each task as it ends; return the run's state, or ``awaiting_input`` when a human is asked."""
    seen: dict[str, str] = {}
    started = time.monotonic()
    while True:
        tasks = place.call("GET", f"/api/v2/dags/{DAG}/dagRuns/{run_id}/taskInstances?limit=200")["task_instances"]
        for task in sorted(tasks, key=lambda t: t.get("end_date") or ""):
            name = task["rendered_map_index"] or (task["map_index"] if task["map_index"] >= 0 else "")
            key, state = f"{task['task_id']}[{name}]" if name != "" else task["task_id"], task["state"]
            if state != seen.get(key) and state in {"success", "failed", "skipped", "upstream_failed", "up_for_retry"}:
                seen[key] = state
                if state != "skipped":
                    took = f"{task['duration']:6.1f} s" if task["duration"] else ""
                    print(f"  {time.monotonic() - started:6.0f} s  {state:<10} {key:<44} {took}", flush=True)
        if not until_answered and any(task["state"] == "awaiting_input" for task in tasks):
            return "awaiting_input"
        state = place.call("GET", f"/api/v2/dags/{DAG}/dagRuns/{run_id}")["state"]
        if state in {"success", "failed"}:
            return state
        time.sleep(POLL_SECONDS)


def _how_to_answer(place: Place, run_id: str) -> str:
    return (
        f"\nThe challenger cleared the gate and waits for a human. Answer it in one of two ways:\n"
        f"  make up DATASET={place.dataset} PORT={place.port}, then open\n"
        f"    {place.url}/dags/{DAG}/runs/{run_id}/tasks/sign_off/required_actions\n"
        f"    (user risk, password {place.password('risk')})\n"
        f'  make approve DATASET={place.dataset} PORT={place.port} REASON="compared, agreed with ..."   (or reject)\n'
    )


def _print_failures(place: Place, run_id: str) -> None:
    for log in sorted(place.airflow.glob(f"logs/dag_id={DAG}/run_id={run_id}/**/attempt=*.log")):
        lines = [line for line in log.read_text().splitlines() if '"level":"error"' in line]
        for line in lines[-1:]:
            event = json.loads(line)
            details = event.get("error_detail") or [{}]
            print(f"{log.parent.name}: {details[0].get('exc_type', '')}: {details[0].get('exc_value', event['event'])}")


def answer(place: Place, choice: str, reason: str) -> int:
    """Answer the waiting sign-off as user ``risk``; then follow the run to its end."""
    if len(reason) < MIN_REASON:
        print(f'a reason of at least {MIN_REASON} characters is needed, found {reason!r}: REASON="..."')
        return 2
    with place.running():
        path = f"/api/v2/dags/{DAG}/dagRuns/~/hitlDetails?response_received=false"
        waiting = [w for w in place.call("GET", path)["hitl_details"] if w["task_instance"]["task_id"] == "sign_off"]
        if not waiting:
            print("no sign-off is waiting")
            return 1
        task = waiting[0]["task_instance"]
        path = (
            f"/api/v2/dags/{task['dag_id']}/dagRuns/{task['dag_run_id']}/taskInstances/{task['task_id']}/-1/hitlDetails"
        )
        time.sleep(SETTLE_SECONDS)
        place.call("PATCH", path, {"chosen_options": [choice], "params_input": {"reason": reason}}, user="risk")
        print(f"{choice} recorded for {task['dag_run_id']}")
        return 0 if _follow(place, task["dag_run_id"], until_answered=True) == "success" else 1


def backfill(place: Place, first: date, last: date) -> int:
    """Past Mondays, one after the other; each judges and none changes the champion."""
    with place.running():
        place.call("PATCH", f"/api/v2/dags/{DAG}", {"is_paused": False})
        place.run_airflow(
            "backfill", "create", "--dag-id", DAG, "--max-active-runs", "1", "--reprocess-behavior", "none",
            "--from-date", f"{first}T00:00:00+09:00", "--to-date", f"{last}T23:59:59+09:00",
        )  # fmt: skip
        while True:
            runs = place.call("GET", f"/api/v2/dags/{DAG}/dagRuns?limit=100")["dag_runs"]
            mine = [run for run in runs if run["run_type"] == "backfill"]
            states = {run["dag_run_id"]: run["state"] for run in sorted(mine, key=lambda r: r["run_after"])}
            if not mine:
                print("nothing to do: those Mondays have their runs")
                return 0
            if all(state in {"success", "failed"} for state in states.values()):
                print("\n".join(f"{run_id}: {state}" for run_id, state in states.items()))
                return int("failed" in states.values())
            time.sleep(POLL_SECONDS)


def up(place: Place) -> int:
    with place.running():
        print(f"Airflow: {place.url}", flush=True)
        for user, role in USERS.items():
            print(f"  {user:<8} {role:<8} password {place.password(user)}", flush=True)
        print("Ctrl-C stops it.", flush=True)
        try:
            signal.pause()
        except KeyboardInterrupt:
            pass
    return 0


def _stop(children: list[subprocess.Popen]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave half of them running
    for child in children:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    for child in children:
        try:
            child.wait(timeout=max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)


def _last_monday() -> date:
    seoul = datetime.now(UTC) + timedelta(hours=9)
    monday = seoul.date() - timedelta(days=seoul.weekday())
    return monday if (seoul.weekday(), seoul.hour) >= (0, 3) else monday - timedelta(days=7)


def _leave(*_: object) -> None:
    raise SystemExit(143)


def main() -> int:
    signal.signal(signal.SIGTERM, _leave)  # so that what was started is stopped
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="synthetic")
    parser.add_argument("--source", help="folder with the raw files of a real data set; remembered")
    parser.add_argument("--port", type=int, default=8080)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("weekly").add_argument("--date", type=date.fromisoformat, default=_last_monday())
    verbs.add_parser("up")
    answering = verbs.add_parser("answer")
    answering.add_argument("choice", choices=["Approve", "Reject"])
    answering.add_argument("--reason", required=True)
    filling = verbs.add_parser("backfill")
    filling.add_argument("--first", type=date.fromisoformat, default=_last_monday() - timedelta(weeks=4))
    filling.add_argument("--last", type=date.fromisoformat, default=_last_monday() - timedelta(weeks=1))
    verbs.add_parser("exec").add_argument("arguments", nargs=argparse.REMAINDER)
    asked = parser.parse_args()
    place = Place(asked.dataset, asked.source, asked.port)
    if asked.verb == "weekly":
        return weekly(place, asked.date)
    if asked.verb == "answer":
        return answer(place, asked.choice, asked.reason)
    if asked.verb == "backfill":
        return backfill(place, asked.first, asked.last)
    if asked.verb == "exec":
        place.set_up()
        return subprocess.run([str(BIN / "airflow"), *asked.arguments], env=place.environment(), check=False).returncode
    return up(place)


if __name__ == "__main__":
    sys.exit(main())
