"""Anchors end to end: a real Clyra, and the servers of others that it anchors with.

    anchors.py CLYRA

Starts an S3 server (moto), a time-stamp authority (openssl), an OpenTimestamps calendar with a block explorer, all on the
loopback; lets a sidecar anchor with all of them; and has the proofs checked by tools that are not ours: boto3, `openssl
ts -verify`, `ots info`. Prints a line for each thing that was checked. Exit status: 0 all well, 1 not.
"""

import hashlib
import json
import logging
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
from moto.server import ThreadedMotoServer

logging.getLogger("werkzeug").setLevel(logging.ERROR)

# Long for a machine under load, short for a hang.
WAIT_MAX = 120

PENDING = bytes.fromhex("83dfe30d2ef90c8e")
BITCOIN = bytes.fromhex("0588960d73d71901")


def check(what, good, detail=""):
    print(json.dumps({"check": what, "ok": bool(good)}), flush=True)
    if not good:
        print(detail, flush=True)
        sys.exit(1)


def double_sha256(data):
    return hashlib.sha256(hashlib.sha256(data).digest()).digest()


def mine(previous, merkle_root):
    """A block header of the least difficulty, as a test network has it."""
    target = 0x7FFFFF << 8 * (0x20 - 3)
    for nonce in range(1000):
        header = (
            (4).to_bytes(4, "little") + previous + merkle_root + (1_790_000_000).to_bytes(4, "little")
            + (0x207FFFFF).to_bytes(4, "little") + nonce.to_bytes(4, "little")
        )
        if int.from_bytes(double_sha256(header), "little") <= target:
            return header
    raise AssertionError("no header")


class Handler(BaseHTTPRequestHandler):
    """Answers with what `answer` of the server gives for method, path and body: status and bytes."""

    def handle_any(self):
        length = int(self.headers.get("content-length") or 0)
        status, body = self.server.answer(self.command, self.path, self.rfile.read(length))
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = handle_any

    def log_message(self, *_):
        pass


def serve(answer):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.answer = answer
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_address[1]}"


class Authority:
    """A time-stamp authority: openssl, behind HTTP."""

    def __init__(self, directory):
        self.directory = directory
        directory.mkdir()
        (directory / "serial").write_text("01\n")
        (directory / "tsa.cnf").write_text(
            "[req]\ndistinguished_name=dn\nprompt=no\n[dn]\nCN=Test authority\n"
            "[ca]\nbasicConstraints=critical,CA:true\nkeyUsage=critical,keyCertSign\n"
            "[stamp]\nbasicConstraints=CA:false\nkeyUsage=critical,digitalSignature\n"
            "extendedKeyUsage=critical,timeStamping\n"
            "[tsa]\ndefault_tsa=t\n[t]\ndir=.\nserial=serial\nsigner_cert=tsa.pem\ncerts=ca.pem\nsigner_key=tsa.key\n"
            "signer_digest=sha256\ndefault_policy=1.2.3.4.1\ndigests=sha256\naccuracy=secs:1\nordering=no\n"
            "tsa_name=yes\ness_cert_id_chain=no\ness_cert_id_alg=sha256\n"
        )
        new = ["req", "-config", "tsa.cnf", "-newkey", "rsa:2048", "-nodes", "-sha256"]
        self.openssl(*new, "-x509", "-extensions", "ca", "-days", "30", "-keyout", "ca.key", "-out", "ca.pem")
        self.openssl(*new, "-subj", "/CN=Test stamps", "-keyout", "tsa.key", "-out", "tsa.csr")
        self.openssl(
            "x509", "-req", "-in", "tsa.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "30",
            "-sha256", "-extfile", "tsa.cnf", "-extensions", "stamp", "-out", "tsa.pem",
        )
        self.lock = threading.Lock()
        self.up = True
        self.url = serve(self.answer) + "/tsr"

    def openssl(self, *arguments):
        return subprocess.run(["openssl", *arguments], cwd=self.directory, check=True, capture_output=True)

    def answer(self, method, path, body):
        if (method, path) != ("POST", "/tsr"):
            return 404, b""
        if not self.up:
            return 503, b""
        with self.lock:
            (self.directory / "query").write_bytes(body)
            self.openssl("ts", "-reply", "-config", "tsa.cnf", "-queryfile", "query", "-out", "reply")
            return 200, (self.directory / "reply").read_bytes()


class Calendar:
    """An OpenTimestamps calendar, and an explorer that knows the blocks it made up."""

    def __init__(self):
        self.commitments = {}
        self.blocks = {}
        self.url = serve(self.answer)

    def answer(self, method, path, body):
        parts = path.strip("/").split("/")
        if method == "POST" and parts == ["digest"] and len(body) == 32:
            nonce = os.urandom(8)
            commitment = hashlib.sha256(body + nonce).digest()
            self.commitments[commitment.hex()] = commitment
            uri = self.url.encode()
            payload = bytes([len(uri)]) + uri
            return 200, b"\xf0\x08" + nonce + b"\x08\x00" + PENDING + bytes([len(payload)]) + payload
        if parts[0] == "timestamp" and parts[1] in self.commitments:
            before = os.urandom(4)
            root = hashlib.sha256(before + self.commitments[parts[1]]).digest()
            height = len(self.blocks) + 1
            self.blocks[height] = mine(bytes(32), root)
            return 200, b"\xf1\x04" + before + b"\x08\x00" + BITCOIN + bytes([1, height])
        if parts[0] == "block-height" and int(parts[1]) in self.blocks:
            return 200, double_sha256(self.blocks[int(parts[1])])[::-1].hex().encode()
        if parts[0] == "block":
            for header in self.blocks.values():
                if double_sha256(header)[::-1].hex() == parts[1]:
                    return 200, header.hex().encode()
        return 404, b""


def op_return_proof(script, spends):
    """A transaction with the output, in a block with one other, and the hash of the transaction."""
    script = bytes.fromhex(script)
    tx = (
        bytes.fromhex("0200000001") + spends + bytes(5) + b"\xff" * 4
        + b"\x01" + bytes(8) + bytes([len(script)]) + script + bytes(4)
    )
    txid, other = double_sha256(tx), hashlib.sha256(b"coinbase").digest()
    headers = [mine(bytes(32), double_sha256(other + txid))]
    headers.append(mine(double_sha256(headers[0]), bytes(32)))
    proof = {"branch": [other.hex()], "headers": [h.hex() for h in headers], "index": "1", "tx": tx.hex()}
    return json.dumps(proof, sort_keys=True, separators=(",", ":")), txid


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Clyra:
    def __init__(self, binary, work, settings):
        self.binary, self.work, self.data = binary, work, work / "data"
        self.config = work / "clyra.yaml"
        self.config.write_text(json.dumps(settings))  # JSON is YAML
        self.env = {
            name: value for name, value in os.environ.items() if not name.startswith(("CLYRA_", "AWS_"))
        } | {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}

    def run(self, *arguments, status=0):
        command = [self.binary, *map(str, arguments), "--data-dir", str(self.data)]
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=WAIT_MAX)
        check(" ".join(["clyra", *map(str, arguments[:2])]) + f" exits {status}", done.returncode == status,
              done.stdout + done.stderr)
        return done.stdout

    def anchors(self):
        return [json.loads(line) for line in self.run("anchor", "list", "--json").splitlines()]

    def start(self):
        port, admin = free_port(), free_port()
        self.log = (self.work / "clyra.log").open("w")
        self.process = subprocess.Popen(
            [self.binary, "run", "--config", str(self.config), "--listen", f"127.0.0.1:{port}", "--admin",
             f"127.0.0.1:{admin}", "--data-dir", str(self.data)],
            env=self.env, stdout=subprocess.DEVNULL, stderr=self.log,
        )
        self.metrics_url = f"http://127.0.0.1:{admin}/metrics"

    def wait_for(self, *series):
        """Waits until each of these counters of /metrics is there."""
        end = time.monotonic() + WAIT_MAX
        page = ""
        while time.monotonic() < end:
            try:
                page = urllib.request.urlopen(self.metrics_url, timeout=5).read().decode()
            except OSError:
                pass
            if all(one in page for one in series):
                return
            time.sleep(0.1)
        self.stop()
        said = (self.work / "clyra.log").read_text()
        check("the sidecar anchors", False, page + said)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(WAIT_MAX)
        self.log.close()


def main():
    binary = sys.argv[1]
    work = pathlib.Path(tempfile.mkdtemp(prefix="clyra-anchors-"))
    store = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    store.start()
    clyra = None
    try:
        host, port = store.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        s3 = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="test",
                          aws_secret_access_key="test")
        s3.create_bucket(Bucket="worm", ObjectLockEnabledForBucket=True)
        authority, calendar = Authority(work / "tsa"), Calendar()
        spool, shelf = work / "spool", work / "shelf"
        anchors = [
            {"kind": "directory", "name": "shelf", "path": str(shelf), "every_s": 1, "bundles": True},
            {"kind": "object", "name": "worm", "url": "s3://worm/log", "endpoint": endpoint, "region": "us-east-1",
             "lock": {"mode": "compliance", "days": 190}, "bundles": True, "every_s": 1},
            {"kind": "rfc3161", "name": "tsa", "url": authority.url, "every_s": 1, "policy": "1.2.3.4.1"},
            {"kind": "opentimestamps", "name": "ots", "calendars": [calendar.url], "headers": calendar.url,
             "every_s": 1},
            {"kind": "op_return", "name": "chain", "spool": str(spool), "every_s": 1},
        ]
        clyra = Clyra(binary, work, {
            "upstreams": [{"name": "nobody", "url": "http://127.0.0.1:9"}], "seal_every_s": 1,
            "evidence": {"anchors": anchors},
        })
        clyra.start()
        clyra.wait_for(*(f'clyra_anchors_total{{anchor="{name}",outcome="{outcome}"}}' for name, outcome in [
            ("shelf", "Confirmed"), ("worm", "Confirmed"), ("tsa", "Confirmed"), ("ots", "Pending"),
            ("chain", "Pending"),
        ]))
        clyra.stop()

        # Two transactions, the second spending the first, in the order of the checkpoints.
        scripts = sorted(spool.glob("*.script"), key=lambda path: path.stat().st_mtime_ns)
        if len(scripts) < 2:
            clyra.run("anchor", "run", "--config", clyra.config)
            scripts = sorted(spool.glob("*.script"), key=lambda path: path.stat().st_mtime_ns)
        spends = bytes(32)
        for script in scripts[:2]:
            proof, spends = op_return_proof(script.read_text().strip(), spends)
            script.with_suffix(".json").write_text(proof)
        clyra.run("anchor", "upgrade", "--config", clyra.config)

        listed = clyra.anchors()
        kinds = {(anchor["kind"], anchor["state"]) for anchor in listed}
        check("every kind is on record", kinds >= {
            ("directory", "confirmed"), ("object", "confirmed"), ("rfc3161", "confirmed"),
            ("opentimestamps", "pending"), ("opentimestamps", "confirmed"), ("op_return", "confirmed"),
        }, listed)
        chain = [anchor["spends_anchor_before"] for anchor in listed if anchor["kind"] == "op_return"]
        check("each Bitcoin anchor spends the one before", chain == [None] + [True] * (len(chain) - 1), chain)

        out = work / "exported"
        clyra.run("anchor", "export", "--out", out)
        tokens = sorted(out.glob("*.tsr"))
        check("there are tokens", tokens)
        for token in tokens:
            note = out / (token.name.split(".note")[0] + ".note")
            done = subprocess.run(["openssl", "ts", "-verify", "-in", token, "-data", note, "-CAfile",
                                   work / "tsa/ca.pem"], capture_output=True, text=True)
            check("openssl ts -verify accepts the token", done.returncode == 0, done.stdout + done.stderr)
        ots = pathlib.Path(sys.executable).with_name("ots")
        proofs = [subprocess.run([ots, "info", path], capture_output=True, text=True) for path in sorted(out.glob("*.ots"))]
        check("ots info reads every proof", proofs and all(done.returncode == 0 for done in proofs), proofs)
        said = "".join(done.stdout for done in proofs)
        check("ots info sees the promise", f"PendingAttestation('{calendar.url}')" in said, said)
        check("ots info sees the block", "BitcoinBlockHeaderAttestation" in said, said)

        sizes = sorted({anchor["size"] for anchor in listed if anchor["kind"] == "object"})
        for size in sizes:
            found = s3.get_object(Bucket="worm", Key=f"log/checkpoints/{size}")
            held = (clyra.data / "checkpoints" / str(size)).read_bytes()
            check("the store has the note, locked", found["Body"].read() == held
                  and found["ObjectLockMode"] == "COMPLIANCE" and "ObjectLockRetainUntilDate" in found, found)
            check("the directory has the note", (shelf / f"checkpoints/{size}").read_bytes() == held)
        bundles = {path.name for path in (clyra.data / "bundles").glob("*.pef")}
        kept = {item["Key"].split("/")[-1] for item in s3.list_objects_v2(Bucket="worm", Prefix="log/bundles/")["Contents"]}
        check("the store has bundles", kept and kept <= bundles, (kept, bundles))

        # Another history in the place of ours is not overwritten, and is said.
        newest = max(int(path.name) for path in (clyra.data / "checkpoints").iterdir() if path.name.isdigit())
        s3.put_object(Bucket="worm", Key=f"log/checkpoints/{newest}", Body=b"another history")
        state = json.loads((clyra.data / "anchors/state.json").read_text())
        state["worm"]["last"] = None
        (clyra.data / "anchors/state.json").write_text(json.dumps(state))
        authority.up = False
        state = clyra.run("anchor", "run", "--config", clyra.config, "--json", status=1)
        check("a conflict in the store is said", "A008" in state, state)

        def verify():
            done = subprocess.run([binary, "verify", str(clyra.data), "--json"], capture_output=True, text=True)
            verdict = json.loads(done.stdout)
            return done.returncode, {finding["code"] for finding in verdict["findings"]}, verdict

        status, codes, verdict = verify()
        check("clyra verify accepts every anchor", status == 0 and codes <= {"E705"}, verdict)
        proof = clyra.data / "anchors" / next(f"{a['proof']}.tsr" for a in listed if a["kind"] == "rfc3161")
        proof.write_bytes(proof.read_bytes()[:-1])
        status, codes, verdict = verify()
        check("clyra verify refuses a proof that was touched", status == 1 and "E701" in codes, verdict)
    finally:
        if clyra and getattr(clyra, "process", None) and clyra.process.poll() is None:
            clyra.process.kill()
        store.stop()
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
