"""What the providers' own SDKs make of recorded exchanges that are played through Clyra, and what Clyra saw in them.

Usage: recorded.py core|more REPLAY [ID...]
  core     OpenAI, Anthropic, Google, Ollama
  more     Bedrock (boto3), Cohere
  REPLAY   the program that plays the recordings (target/debug/replay-recorded); it needs the shared data
  ID       only these recordings, and what is read of them is printed

Each SDK makes the call of a recording with its own method and reads the answer, with its own helper where it streams.
What it has then must be what Clyra inspected and told: texts by channel, tool calls, why the answer ended, tokens, and
for an error its status and message. What an SDK cannot read, and where it reads something else for a reason that is no
fault of Clyra's, stands in recorded_expected.json, and no more than that may happen, nor less.

Prints a table; exits with 1 if anything differs. Where the recordings are not at hand, it says so, and with CI=true
that is a failure.
"""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from recorded_reading import Refused, differences

EXPECTED = Path(__file__).with_name("recorded_expected.json")
# Clyra and its provider work on the same machine.
ASKING_MAX = 3


# Each is imported where it is asked for: the packages of the others may be missing.
def core():
    import recorded_google
    import recorded_ollama
    import recorded_openai
    import recorded_anthropic

    return recorded_openai.APIS | recorded_anthropic.APIS | recorded_google.APIS | recorded_ollama.APIS


def more():
    import recorded_bedrock
    import recorded_cohere

    return recorded_bedrock.APIS | recorded_cohere.APIS


SETS = {"core": core, "more": more}


class Replay:
    """The program that plays the recordings. It says where it listens and what there is to ask for; when its input is
    closed, what Clyra saw."""

    def __init__(self, program, apis):
        self.process = subprocess.Popen([program, *apis], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        first = self.process.stdout.readline()
        # Without the data it says that in words.
        self.skipped = first.strip() if not first.startswith("{") else None
        self.listens = None if self.skipped else json.loads(first)
        self.exchanges = [] if self.skipped else self.lines()

    def lines(self):
        lines = []
        while line := self.process.stdout.readline().strip():
            lines.append(json.loads(line))
        return lines

    def told(self):
        self.process.stdin.close()
        told = {line["id"]: line for line in self.lines()}
        if self.process.wait() != 0:
            raise SystemExit("failed: the replay did not end well")
        return told


def ask(apis, listens, exchange):
    """What the SDK reads, or the exception with which it refuses to."""
    headers = {listens["script_header"]: exchange["id"], "x-clyra-run-id": exchange["id"]}
    try:
        return apis[exchange["api"]](listens["url"], headers, exchange)
    except Refused as refused:
        return refused
    except Exception as error:  # noqa: BLE001: whatever an SDK raises is what is to be recorded here
        return Refused(f"{type(error).__name__}: {error}")


def compare(exchange, read, told):
    """Whether the SDK could read it, and what is different."""
    if isinstance(read, Refused):
        return False, [str(read)]
    if told is None:
        return False, ["Clyra was not asked"]
    return True, differences(exchange, read, told)


class Expected:
    """The explained exceptions: by recording, which kind (`refused`, `differs`), and a part of what is said then."""

    def __init__(self, only):
        self.entries = {}
        for entry in json.loads(EXPECTED.read_text()):
            for recording in entry["recordings"]:
                self.entries[recording] = entry
        self.open = {recording for recording in self.entries if recording in only}

    def explains(self, recording, kind, faults):
        entry = self.entries.get(recording)
        if entry is None or entry["kind"] != kind or not all(any(part in f for part in entry["says"]) for f in faults):
            return False
        self.open.discard(recording)
        return True


def main(name, program, only):
    apis = SETS[name]()
    replay = Replay(program, sorted(apis))
    if replay.skipped is not None:
        print(replay.skipped or "failed: the replay does not start")
        return replay.process.wait() or (1 if os.environ.get("CI") == "true" else 0)
    exchanges = [one for one in replay.exchanges if not only or one["id"] in only]
    with ThreadPoolExecutor(ASKING_MAX) as pool:
        reads = list(pool.map(lambda exchange: ask(apis, replay.listens, exchange), exchanges))
    told = replay.told()

    expected = Expected({exchange["id"] for exchange in exchanges})
    table, failures = {}, []
    for exchange, read in zip(exchanges, reads):
        row = table.setdefault(exchange["api"], {"asked": 0, "equal": 0, "explained": 0, "refused": 0})
        row["asked"] += 1
        parsed, faults = compare(exchange, read, told.get(exchange["id"]))
        if only:
            print(exchange["id"], vars(read) or read, json.dumps(told.get(exchange["id"]), indent=1), sep="\n")
        if parsed and not faults:
            row["equal"] += 1
        elif expected.explains(exchange["id"], "differs" if parsed else "refused", faults):
            row["explained" if parsed else "refused"] += 1
        else:
            failures += [f"{exchange['id']} {exchange['api']} {exchange['path']}: {fault}" for fault in faults]
    failures += [f"{recording}: is expected to be read otherwise, and is not" for recording in sorted(expected.open)]

    print(f"{'api':30} {'asked':>6} {'equal':>6} {'explained':>10} {'SDK cannot parse':>17}")
    total = {column: sum(row[column] for row in table.values()) for column in ("asked", "equal", "explained", "refused")}
    for api, row in [*sorted(table.items()), ("together", total)]:
        print(f"{api:30} {row['asked']:6} {row['equal']:6} {row['explained']:10} {row['refused']:17}")
    for failure in failures:
        print(f"failed: {failure}")
    return 1 if failures else 0


if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[1] not in SETS:
        print("usage: recorded.py core|more REPLAY [ID...]", file=sys.stderr)
        sys.exit(2)
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
