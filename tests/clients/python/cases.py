"""What every SDK has to show, whatever it speaks, and how its cases are run.

A case gets the class of an SDK and the address, and raises AssertionError where something is not as it should be.
"""

import base64
import json
import os
import sys
import threading
import time

CASE_SECONDS_MAX = 10
PHRASE = "Project Nightjar"
SECRET = "AKIAIOSFODNN7EXAMPLE"
REPLACEMENT = "[REDACTED:secret]"
# The policy has one rule per phase; the names of all three begin like this.
RULE = "no-nightjar"
TOOL_ARGUMENTS = {"city": "Zürich", "days": 3, "note": 'a "quoted" word'}
TOOL_SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}, "note": {"type": "string"}},
}

FORM_SCHEMA = {
    "type": "object",
    "properties": {"note": {"type": "string"}, "total": {"type": "integer"}},
    "required": ["note", "total"],
    "additionalProperties": False,
}

def directive(**keys):
    """A directive for the simulated provider, encoded so that none of its words stands in the request."""
    return "!sim64 " + base64.b64encode(json.dumps(keys).encode()).decode()


class Answer:
    """What an SDK made of an answer."""

    def __init__(self):
        self.text = ""
        self.deltas = 0
        self.tools = []
        self.finish = None
        self.error = None
        # The tokens of the text as the provider lists them with their probabilities.
        self.tokens = ""

    def add(self, text):
        self.text += text
        self.deltas += 1


class Sdk:
    """What the cases ask of an SDK; as it is, it fits those of OpenAI and Anthropic."""

    # Whether an error event of the provider's own in a stream raises an exception.
    raises_errors_in_streams = True
    # Whether the event with which Clyra stops a stream does.
    raises_blocks_in_streams = True
    # Whether answers list their tokens.
    tells_tokens = False
    # Names of cases that the SDK has no way to express, each with its reason beside it.
    without = ()
    # A JSON Schema that the next requests ask the answer to keep to.
    schema = None

    @property
    def api_error(self):
        return self.sdk.APIError

    def kind(self, name):
        """The exception that OpenAI's SDK calls by this name."""
        return getattr(self.sdk, name)

    def is_kind(self, error, kind):
        return type(error) is kind

    def status(self, error):
        return error.status_code

    def headers(self, error):
        return error.response.headers

    def told(self, error):
        """All that the application can read of an error."""
        return [str(error), error.response.text]


def check(holds, otherwise):
    if not holds:
        raise AssertionError(otherwise)


def equal(actual, expected, what):
    check(actual == expected, f"{what} is {actual!r:.300}, not {expected!r:.300}")


def raised(client, name, call):
    """The exception that the call raises, which must be of exactly the class that this name stands for."""
    kind = client.kind(name)
    try:
        answer = call()
    except AssertionError:
        raise
    except Exception as error:
        check(client.is_kind(error, kind), f"raised {type(error).__name__}, not {kind.__name__}: {error!s:.300}")
        return error
    raise AssertionError(f"no exception; the answer is {answer.text!r:.300}")


def check_block(client, error):
    """A block is said once, in words that help, without what was blocked."""
    equal(client.calls, 1, "the number of requests")
    message = client.error_message(error)
    headers = client.headers(error)
    request_id = headers["x-clyra-request-id"]
    check(RULE in message, f"the message does not name {RULE}: {message}")
    check(request_id in message, f"the message does not name request {request_id}: {message}")
    check(RULE in str(error), f"the exception does not print {RULE}: {error}")
    for said in client.told(error):
        check(PHRASE.lower() not in said.lower(), "the message repeats the forbidden phrase")
    equal(headers["x-clyra-decision"], "block", "x-clyra-decision")
    equal(headers["x-should-retry"], "false", "x-should-retry")


def plain(sdk, base_url):
    client = sdk(base_url)
    answer = client.ask("Tell me about foxes.\n" + directive(content="Füchse 🦊 are red."))
    equal(answer.text, "Füchse 🦊 are red.", "the text")
    equal(answer.finish, client.finish["text"], "the reason to finish")
    equal(client.calls, 1, "the number of requests")


def streamed(sdk, base_url):
    text = "Füchse 🦊 are red, and some of them are grey."
    answer = sdk(base_url).stream("Tell me about foxes.\n" + directive(content=text, split=3, delay_ms=2))
    equal(answer.text, text, "the text")
    check(answer.deltas > 1, "the text came in one piece")
    equal(answer.finish, sdk.finish["text"], "the reason to finish")


def tools(sdk, base_url, way):
    call = {"name": "weather", "arguments": json.dumps(TOOL_ARGUMENTS)}
    answer = getattr(sdk(base_url), way)("How is the weather?\n" + directive(tool=[call, call], split=2), tools=True)
    equal(answer.tools, [("weather", TOOL_ARGUMENTS)] * 2, "the tool calls")
    equal(answer.finish, sdk.finish["tools"], "the reason to finish")


def provider_error(sdk, base_url, status, kind):
    client = sdk(base_url, max_retries=0)
    for way in (client.ask, client.stream):
        words = f"Simulated trouble {status} with Füchsen."
        error = raised(client, kind, lambda: way(directive(status=status, content=words)))
        equal(client.status(error), status, "the status")
        equal(client.error_message(error), words, "the message")
        equal(client.error_type(error), client.error_types[status], "the type")


def provider_error_in_stream(sdk, base_url):
    partial = Answer()
    ask = directive(content="So far so good.", error_event=True)
    client = sdk(base_url)
    try:
        answer = client.stream(ask, answer=partial)
    except client.api_error:
        check(sdk.raises_errors_in_streams, "an exception where the event was expected")
        equal(partial.text, "So far so good.", "the text before the error")
        return
    if not sdk.raises_errors_in_streams:
        equal((answer.text, answer.finish), ("So far so good.", client.finish["error"]), "the text and its end")
        return
    raise AssertionError(f"no exception; the answer is {partial.text!r}")


def system_prompt(sdk, base_url):
    answer = sdk(base_url).ask(directive(echo_system=True), system="You are terse, like Füchse.")
    equal(answer.text, "You are terse, like Füchse.", "the system prompt as the provider received it")


def large_request(sdk, base_url):
    text = "The quick brown fox jumps over the lazy dog. " * (1024 * 1024 // 45)
    answer = sdk(base_url).ask(text + "\n" + directive(echo=True))
    check(answer.text == text, f"the provider did not receive what was sent ({len(answer.text)} characters)")


def request_block(sdk, base_url, way):
    client = sdk(base_url)
    error = raised(client, "BadRequestError", lambda: getattr(client, way)(f"What became of {PHRASE}?"))
    check_block(client, error)


def system_block(sdk, base_url):
    client = sdk(base_url)
    error = raised(client, "BadRequestError", lambda: client.ask("Hello", system=f"You work for {PHRASE}."))
    check_block(client, error)


def response_block(sdk, base_url):
    client = sdk(base_url)
    ask = directive(content=f"It is called {PHRASE}, of course.")
    error = raised(client, "BadRequestError", lambda: client.ask(ask))
    check_block(client, error)


def tool_block(sdk, base_url):
    client = sdk(base_url)
    call = {"name": "weather", "arguments": json.dumps({"city": PHRASE})}
    error = raised(client, "BadRequestError", lambda: client.ask(directive(tool=[call]), tools=True))
    check_block(client, error)


def stopped(client, ask):
    """A stream that Clyra stops in its middle: what was shown of it, and what the application is told."""
    partial = Answer()
    try:
        answer = client.stream(ask, answer=partial)
    except client.api_error as error:
        check(client.raises_blocks_in_streams, f"an exception where the event was expected: {error}")
        said = str(error)
    else:
        check(not client.raises_blocks_in_streams, f"no exception; the answer ends in {partial.text[-60:]!r}")
        equal(answer.finish, client.finish["error"], "the reason to finish")
        said = answer.error
    equal(client.calls, 1, "the number of requests")
    return partial.text, said


def block_in_stream(sdk, base_url):
    before = "These words are harmless and may be read by anybody. " * 6
    ask = directive(content=f"{before}It is called {PHRASE}, of course. {before}", split=4, delay_ms=2)
    shown, said = stopped(sdk(base_url), ask)
    check(RULE in said, f"what is told does not name {RULE}: {said}")
    check(PHRASE.lower() not in said.lower(), "the message repeats the forbidden phrase")
    check(shown != "", "nothing was streamed before the block")
    check(f"{before}It is called ".startswith(shown), f"part of the match came through: {shown[-30:]!r}")


def schema_violation_in_stream(sdk, base_url):
    before = "These words are harmless and may be read by anybody. " * 6
    ask = directive(content=json.dumps({"note": before, "total": "behind"}), split=4, delay_ms=2)
    client = sdk(base_url)
    client.schema = FORM_SCHEMA
    shown, said = stopped(client, ask)
    check("schema_violation" in said, f"what is told does not say what is wrong: {said}")
    check("harmless" in shown, "nothing was streamed before the block")
    check("behind" not in shown + said, f"the broken value came through: {shown[-30:]!r}")


def schema_kept_in_stream(sdk, base_url):
    form = {"note": "These words are harmless. " * 6, "total": 7}
    client = sdk(base_url)
    client.schema = FORM_SCHEMA
    answer = client.stream(directive(content=json.dumps(form), split=4))
    equal(json.loads(answer.text), form, "the document")
    check(answer.deltas > 3, f"it came in {answer.deltas} pieces")


def redaction_in_request(sdk, base_url, way):
    ask = f"My key is {SECRET}, keep it.\n" + directive(echo_reversed=True)
    received = getattr(sdk(base_url), way)(ask).text[::-1]
    equal(received, f"My key is {REPLACEMENT}, keep it.", "what the provider received")


def redaction_in_response(sdk, base_url, way):
    ask = directive(content=f"The key is {SECRET}, keep it.", split=1)
    answer = getattr(sdk(base_url), way)(ask)
    equal(answer.text, f"The key is {REPLACEMENT}, keep it.", "the text")
    equal(answer.finish, sdk.finish["text"], "the reason to finish")


def redaction_beside_tokens(sdk, base_url, way):
    """Tokens and their probabilities say the text again, and must not say what was taken out of it."""
    ask = directive(content=f"The key is {SECRET}, keep it.", split=4, logprobs=True)
    answer = getattr(sdk(base_url), way)(ask)
    equal(answer.text, f"The key is {REPLACEMENT}, keep it.", "the text")
    check(SECRET not in answer.tokens, "the tokens spell the secret")
    kept = getattr(sdk(base_url), way)(directive(content="Füchse are red.", split=4, logprobs=True))
    equal(kept.tokens, "Füchse are red.", "the tokens of a text that is left alone")


CLEAN_CASES = {
    "plain": plain,
    "streamed": streamed,
    "tools plain": lambda *to: tools(*to, "ask"),
    "tools streamed": lambda *to: tools(*to, "stream"),
    "provider error 429": lambda *to: provider_error(*to, 429, "RateLimitError"),
    "provider error 500": lambda *to: provider_error(*to, 500, "InternalServerError"),
    "provider error in a stream": provider_error_in_stream,
    "system prompt": system_prompt,
    "large request": large_request,
}

POLICY_CASES = {
    "request block": lambda *to: request_block(*to, "ask"),
    "request block, streamed": lambda *to: request_block(*to, "stream"),
    "system prompt block": system_block,
    "response block": response_block,
    "tool call block": tool_block,
    "block in a stream": block_in_stream,
    "schema violation in a stream": schema_violation_in_stream,
    "schema kept in a stream": schema_kept_in_stream,
    "redaction in the request": lambda *to: redaction_in_request(*to, "ask"),
    "redaction in the request, streamed": lambda *to: redaction_in_request(*to, "stream"),
    "redaction in the response": lambda *to: redaction_in_response(*to, "ask"),
    "redaction in the response, streamed": lambda *to: redaction_in_response(*to, "stream"),
}

TOKEN_CASES = {
    "redaction beside tokens": lambda *to: redaction_beside_tokens(*to, "ask"),
    "redaction beside tokens, streamed": lambda *to: redaction_beside_tokens(*to, "stream"),
}


def run(case, sdk, base_url):
    """The outcome of a case; one that does not come back in time has hung, and has failed."""
    outcome = {"ok": False, "detail": f"hung: no end after {CASE_SECONDS_MAX} s"}

    def attempt():
        begun = time.monotonic()
        try:
            case(sdk, base_url)
        except AssertionError as error:
            outcome.update(detail=str(error))
        except Exception as error:
            outcome.update(detail=f"{type(error).__name__}: {error}")
        else:
            outcome.update(ok=True, detail=f"{time.monotonic() - begun:.2f} s")

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(CASE_SECONDS_MAX)
    return dict(outcome)


def main(sdks):
    base_url = os.environ.get("CLYRA_BASE_URL", "").rstrip("/")
    if not base_url:
        print("clients.py: set CLYRA_BASE_URL to where Clyra listens, such as http://127.0.0.1:8080", file=sys.stderr)
        return 2
    with_policy = os.environ.get("CLYRA_CASES", "all") != "clean"
    failed = 0
    for sdk in sdks:
        cases = {**CLEAN_CASES, **(POLICY_CASES if with_policy else {})}
        if with_policy and sdk.tells_tokens:
            cases.update(TOKEN_CASES)
        for name, case in cases.items():
            if name in sdk.without:
                continue
            outcome = run(case, sdk, base_url)
            failed += not outcome["ok"]
            print(json.dumps({"case": f"{sdk.name}-python: {name}", **outcome}), flush=True)
    return 1 if failed else 0
