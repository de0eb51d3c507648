"""The reference client of MCP against the reference server of MCP, with Clyra between them.

Usage: mcp_reference.py

Environment:
  CLYRA_BASE_URL   where Clyra listens, with an upstream `mcp` at 127.0.0.1:CLYRA_MCP_PORT
  CLYRA_MCP_PORT   the port that this program serves the reference server on

Both versions of streamable HTTP are spoken: with sessions (2025-11-25, mode "legacy") and without (2026-07-28). The policy
in force is ../policy.yaml. Prints one JSON line per case, {"case", "ok", "detail"}; exits with 1 if any failed.
"""

import asyncio
import json
import os
import socket
import sys
import threading
import time

import mcp_types
from mcp import Client
from mcp.server.mcpserver import Context, MCPServer
from mcp.shared.exceptions import MCPError

CASE_SECONDS_MAX = 20
PHRASE = "Project Nightjar"
SECRET = "AKIAIOSFODNN7EXAMPLE"
REPLACEMENT = "[REDACTED:secret]"

# What reached the server: (tool, arguments).
received = []
server = MCPServer("reference", instructions="Ask for what you need.", log_level="ERROR")


@server.tool(description="Gives back what it is given, reversed, so that no word of it stands in the request.")
def reverse(text: str) -> str:
    received.append(("reverse", text))
    return text[::-1]


@server.tool(description="Tells of its progress.")
async def slow(steps: int, context: Context) -> str:
    received.append(("slow", steps))
    for step in range(steps):
        await context.report_progress(step + 1, steps)
    return f"{steps} steps"


@server.tool(description="Gives back what the policy knows.")
def leak(what: str) -> str:
    received.append(("leak", what))
    return {"key": f"The key is {SECRET}, keep it.", "name": f"It is {PHRASE}."}[what]


@server.resource("note://{name}", description="A note.")
def note(name: str) -> str:
    return f"A note on {name}."


@server.prompt(description="A prompt.")
def greet(name: str) -> str:
    return f"Greet {name}."


def check(holds, otherwise):
    if not holds:
        raise AssertionError(otherwise)


def text_of(result):
    return "".join(part.text for part in result.content if part.type == "text")


async def tools_are_listed_and_called(client):
    tools = {tool.name for tool in (await client.list_tools()).tools}
    check(tools == {"reverse", "slow", "leak"}, f"the tools are {tools}")
    result = await client.call_tool("reverse", {"text": "Füchse 🦊"})
    check(not result.is_error and text_of(result) == "🦊 eshcüF", f"the result is {result!r:.300}")


async def progress_comes_through(client):
    told = []

    async def tell(done, _total, _message):
        told.append(done)

    result = await client.call_tool("slow", {"steps": 3}, progress_callback=tell)
    check(text_of(result) == "3 steps", f"the result is {result!r:.300}")
    check(told == [1, 2, 3], f"told of {told}")


async def resources_and_prompts(client):
    resource = await client.read_resource("note://foxes")
    check(resource.contents[0].text == "A note on foxes.", f"the resource is {resource!r:.300}")
    prompt = await client.get_prompt("greet", {"name": "Ada"})
    check(prompt.messages[0].content.text == "Greet Ada.", f"the prompt is {prompt!r:.300}")


async def a_call_is_blocked_before_it_is_sent(client):
    before = len(received)
    try:
        result = await client.call_tool("reverse", {"text": f"On {PHRASE}."})
    except MCPError as error:
        check("no-nightjar" in str(error), f"the error does not name the rule: {error}")
        check(PHRASE not in str(error), "the error repeats the phrase")
    else:
        raise AssertionError(f"no error: {result!r:.300}")
    check(len(received) == before, "the call reached the server")
    # The session goes on.
    check(text_of(await client.call_tool("reverse", {"text": "ab"})) == "ba", "the next call does not work")


async def a_result_is_blocked(client):
    try:
        result = await client.call_tool("leak", {"what": "name"})
    except MCPError as error:
        check("no-nightjar" in str(error) and PHRASE not in str(error), f"the error is {error}")
    else:
        raise AssertionError(f"no error: {result!r:.300}")


async def secrets_are_redacted_both_ways(client):
    result = await client.call_tool("leak", {"what": "key"})
    check(text_of(result) == f"The key is {REPLACEMENT}, keep it.", f"the result is {text_of(result)!r}")
    result = await client.call_tool("reverse", {"text": f"My key is {SECRET}."})
    check(received[-1] == ("reverse", f"My key is {REPLACEMENT}."), f"the server received {received[-1]}")


CASES = [
    tools_are_listed_and_called,
    progress_comes_through,
    resources_and_prompts,
    a_call_is_blocked_before_it_is_sent,
    a_result_is_blocked,
    secrets_are_redacted_both_ways,
]


async def run(case, url, mode):
    async with Client(url, mode=mode, read_timeout_seconds=CASE_SECONDS_MAX, cache=None) as client:
        await case(client)


def serve(port):
    server.run("streamable-http", host="127.0.0.1", port=port)


def wait_for(port):
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"the reference server does not listen on port {port}")


def main():
    base_url, port = os.environ.get("CLYRA_BASE_URL", "").rstrip("/"), os.environ.get("CLYRA_MCP_PORT")
    if not base_url or not port:
        print("mcp_reference.py: set CLYRA_BASE_URL and CLYRA_MCP_PORT", file=sys.stderr)
        return 2
    threading.Thread(target=serve, args=(int(port),), daemon=True).start()
    wait_for(int(port))
    failed = 0
    for mode in ("legacy", mcp_types.version.MODERN_PROTOCOL_VERSIONS[0]):
        for case in CASES:
            begun = time.monotonic()
            outcome = {"ok": True, "detail": ""}
            try:
                asyncio.run(asyncio.wait_for(run(case, f"{base_url}/mcp", mode), CASE_SECONDS_MAX))
            except BaseException as error:  # exceptions of task groups come in groups
                outcome = {"ok": False, "detail": f"{error!r:.500}"}
                failed += 1
            else:
                outcome["detail"] = f"{time.monotonic() - begun:.2f} s"
            name = case.__name__.replace("_", " ")
            print(json.dumps({"case": f"mcp-python ({mode}): {name}", **outcome}), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
