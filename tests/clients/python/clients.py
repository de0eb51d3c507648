"""The OpenAI, Anthropic and Google SDKs for Python, as applications use them, against Clyra.

Environment:
  CLYRA_BASE_URL   where Clyra listens (or the simulated provider, see below), without a path
  CLYRA_CASES      "all" (the default), or "clean": only the cases that need no policy, which must also pass
                   straight against the simulated provider

Behind Clyra stands the simulated provider, which answers what a directive in the prompt tells it to. The policy in
force is ../policy.yaml. Prints one JSON line per case, {"case", "ok", "detail"}; exits with 1 if any failed.
"""

import base64
import json
import os
import sys
import threading
import time

import anthropic
import openai
from google import genai
from google.genai import errors as genai_errors

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

    def add(self, text):
        self.text += text
        self.deltas += 1


class Sdk:
    """What the SDKs of OpenAI and Anthropic have in common."""

    # Whether an error event of the provider's own in a stream raises an exception.
    raises_errors_in_streams = True
    # A JSON Schema that the next requests ask the answer to keep to.
    schema = None

    @property
    def api_error(self):
        return self.sdk.APIError

    def kind(self, name):
        return getattr(self.sdk, name)

    def status(self, error):
        return error.status_code


class OpenAi(Sdk):
    """The `openai` package, chat completions."""

    name = "openai"
    sdk = openai

    def __init__(self, base_url, max_retries=None):
        self.calls = 0
        options = {} if max_retries is None else {"max_retries": max_retries}
        self.client = openai.OpenAI(
            base_url=base_url + "/v1",
            api_key="sk-simulated",
            timeout=CASE_SECONDS_MAX,
            http_client=openai.DefaultHttpxClient(event_hooks={"request": [self.count]}),
            **options,
        )

    def count(self, _request):
        self.calls += 1

    def arguments(self, user, system, tools):
        messages = [{"role": "user", "content": user}]
        if system:
            messages.insert(0, {"role": "system", "content": system})
        arguments = {"model": "simulated-gpt", "messages": messages}
        if tools:
            function = {"name": "weather", "description": "The weather.", "parameters": TOOL_SCHEMA}
            arguments["tools"] = [{"type": "function", "function": function}]
        if self.schema:
            form = {"type": "json_schema", "json_schema": {"name": "form", "schema": self.schema}}
            arguments["extra_body"] = {"response_format": form}
        return arguments

    def ask(self, user, system=None, tools=False):
        completion = self.client.chat.completions.create(**self.arguments(user, system, tools))
        choice = completion.choices[0]
        answer = Answer()
        answer.text = choice.message.content or ""
        answer.finish = choice.finish_reason
        for call in choice.message.tool_calls or []:
            answer.tools.append((call.function.name, json.loads(call.function.arguments)))
        return answer

    def stream(self, user, system=None, tools=False, answer=None):
        answer = answer or Answer()
        calls = {}
        for chunk in self.client.chat.completions.create(stream=True, **self.arguments(user, system, tools)):
            for choice in chunk.choices:
                if choice.delta.content:
                    answer.add(choice.delta.content)
                for call in choice.delta.tool_calls or []:
                    name, arguments = calls.get(call.index, ("", ""))
                    calls[call.index] = (name + (call.function.name or ""), arguments + (call.function.arguments or ""))
                answer.finish = choice.finish_reason or answer.finish
        answer.tools = [(name, json.loads(arguments)) for name, arguments in calls.values()]
        return answer

    def error_message(self, error):
        return error.body["message"]

    finish = {"text": "stop", "tools": "tool_calls"}
    error_types = {429: "requests", 500: "server_error"}

    def error_type(self, error):
        return error.body["type"]


class Responses(OpenAi):
    """The `openai` package, responses."""

    name = "openai-responses"
    # An event of type `error` is handed to the application like any other.
    raises_errors_in_streams = False

    def arguments(self, user, system, tools):
        arguments = {"model": "simulated-gpt", "input": [{"role": "user", "content": user}]}
        if system:
            arguments["instructions"] = system
        if tools:
            function = {"type": "function", "name": "weather", "description": "The weather.", "parameters": TOOL_SCHEMA}
            arguments["tools"] = [function]
        if self.schema:
            form = {"type": "json_schema", "name": "form", "schema": self.schema}
            arguments["extra_body"] = {"text": {"format": form}}
        return arguments

    def ask(self, user, system=None, tools=False):
        return self.read(self.client.responses.create(**self.arguments(user, system, tools)), Answer())

    def stream(self, user, system=None, tools=False, answer=None):
        answer = answer or Answer()
        with self.client.responses.stream(**self.arguments(user, system, tools)) as stream:
            for event in stream:
                if event.type == "response.output_text.delta":
                    answer.add(event.delta)
                elif event.type == "error":
                    answer.finish = "error"
            if answer.finish == "error":
                return answer
            final = self.read(stream.get_final_response(), Answer())
        check(final.text == answer.text, "the final response is not what was streamed")
        final.deltas = answer.deltas
        return final

    def read(self, response, answer):
        answer.text = response.output_text
        answer.finish = response.status
        for item in response.output:
            if item.type == "function_call":
                answer.tools.append((item.name, json.loads(item.arguments)))
        return answer

    finish = {"text": "completed", "tools": "completed"}


class Anthropic(Sdk):
    """The `anthropic` package."""

    name = "anthropic"
    sdk = anthropic

    def __init__(self, base_url, max_retries=None):
        self.calls = 0
        options = {} if max_retries is None else {"max_retries": max_retries}
        self.client = anthropic.Anthropic(
            base_url=base_url,
            api_key="sk-ant-simulated",
            timeout=CASE_SECONDS_MAX,
            http_client=anthropic.DefaultHttpxClient(event_hooks={"request": [self.count]}),
            **options,
        )

    def count(self, _request):
        self.calls += 1

    def arguments(self, user, system, tools):
        arguments = {
            "model": "simulated-claude",
            "max_tokens": 1024,
            "messages": [{"role": "user", "content": user}],
        }
        if system:
            arguments["system"] = system
        if tools:
            arguments["tools"] = [{"name": "weather", "description": "The weather.", "input_schema": TOOL_SCHEMA}]
        if self.schema:
            form = {"type": "json_schema", "schema": self.schema}
            arguments["extra_body"] = {"output_config": {"format": form}}
        return arguments

    def ask(self, user, system=None, tools=False):
        return self.read(self.client.messages.create(**self.arguments(user, system, tools)), Answer())

    def stream(self, user, system=None, tools=False, answer=None):
        answer = answer or Answer()
        with self.client.messages.stream(**self.arguments(user, system, tools)) as stream:
            for text in stream.text_stream:
                answer.add(text)
            final = self.read(stream.get_final_message(), Answer())
        check(final.text == answer.text, "the final message is not what was streamed")
        final.deltas = answer.deltas
        return final

    def read(self, message, answer):
        for block in message.content:
            if block.type == "text":
                answer.text += block.text
            elif block.type == "tool_use":
                answer.tools.append((block.name, block.input))
        answer.finish = message.stop_reason
        return answer

    def error_message(self, error):
        return error.body["error"]["message"]

    finish = {"text": "end_turn", "tools": "tool_use"}
    error_types = {429: "rate_limit_error", 500: "api_error"}

    def error_type(self, error):
        return error.body["error"]["type"]


class Google(Sdk):
    """The `google-genai` package."""

    name = "google"
    sdk = genai
    api_error = genai_errors.APIError

    def __init__(self, base_url, max_retries=None):
        self.calls = 0
        self.client = genai.Client(
            api_key="simulated",
            http_options={
                "base_url": base_url,
                "timeout": CASE_SECONDS_MAX * 1000,
                "client_args": {"event_hooks": {"request": [self.count]}},
            },
        )

    def count(self, _request):
        self.calls += 1

    def arguments(self, user, system, tools):
        config = {"system_instruction": system} if system else {}
        if tools:
            declaration = {"name": "weather", "description": "The weather.", "parameters_json_schema": TOOL_SCHEMA}
            config["tools"] = [{"function_declarations": [declaration]}]
            # The SDK would call Python functions by itself.
            config["automatic_function_calling"] = {"disable": True}
        if self.schema:
            config.update(response_mime_type="application/json", response_json_schema=self.schema)
        return {"model": "simulated-gemini", "contents": user, "config": config}

    def ask(self, user, system=None, tools=False):
        answer = Answer()
        self.add(self.client.models.generate_content(**self.arguments(user, system, tools)), answer)
        return answer

    def stream(self, user, system=None, tools=False, answer=None):
        answer = answer or Answer()
        for chunk in self.client.models.generate_content_stream(**self.arguments(user, system, tools)):
            self.add(chunk, answer)
        return answer

    def add(self, response, answer):
        for candidate in response.candidates or []:
            for part in candidate.content.parts if candidate.content and candidate.content.parts else []:
                if part.text:
                    answer.add(part.text)
                if part.function_call:
                    answer.tools.append((part.function_call.name, part.function_call.args))
            answer.finish = candidate.finish_reason.value if candidate.finish_reason else answer.finish

    def kind(self, name):
        return genai_errors.ServerError if name == "InternalServerError" else genai_errors.ClientError

    def status(self, error):
        return error.code

    def error_message(self, error):
        return error.message

    finish = {"text": "STOP", "tools": "STOP"}
    error_types = {429: "RESOURCE_EXHAUSTED", 500: "INTERNAL"}

    def error_type(self, error):
        return error.status


def check(holds, otherwise):
    if not holds:
        raise AssertionError(otherwise)


def equal(actual, expected, what):
    check(actual == expected, f"{what} is {actual!r:.300}, not {expected!r:.300}")


def raised(kind, call):
    """The exception that the call raises, which must be of exactly this class."""
    try:
        answer = call()
    except AssertionError:
        raise
    except Exception as error:
        check(type(error) is kind, f"raised {type(error).__name__}, not {kind.__name__}: {error!s:.300}")
        return error
    raise AssertionError(f"no exception; the answer is {answer.text!r:.300}")


def check_block(client, error):
    """A block is said once, in words that help, without what was blocked."""
    equal(client.calls, 1, "the number of requests")
    message = client.error_message(error)
    request_id = error.response.headers["x-clyra-request-id"]
    check(RULE in message, f"the message does not name {RULE}: {message}")
    check(request_id in message, f"the message does not name request {request_id}: {message}")
    check(RULE in str(error), f"the exception does not print {RULE}: {error}")
    for said in (str(error), error.response.text):
        check(PHRASE.lower() not in said.lower(), "the message repeats the forbidden phrase")
    equal(error.response.headers["x-clyra-decision"], "block", "x-clyra-decision")
    equal(error.response.headers["x-should-retry"], "false", "x-should-retry")


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
        error = raised(client.kind(kind), lambda: way(directive(status=status, content=words)))
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
        equal((answer.text, answer.finish), ("So far so good.", "error"), "the text and its end")
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
    error = raised(client.kind("BadRequestError"), lambda: getattr(client, way)(f"What became of {PHRASE}?"))
    check_block(client, error)


def system_block(sdk, base_url):
    client = sdk(base_url)
    error = raised(client.kind("BadRequestError"), lambda: client.ask("Hello", system=f"You work for {PHRASE}."))
    check_block(client, error)


def response_block(sdk, base_url):
    client = sdk(base_url)
    ask = directive(content=f"It is called {PHRASE}, of course.")
    error = raised(client.kind("BadRequestError"), lambda: client.ask(ask))
    check_block(client, error)


def tool_block(sdk, base_url):
    client = sdk(base_url)
    call = {"name": "weather", "arguments": json.dumps({"city": PHRASE})}
    error = raised(client.kind("BadRequestError"), lambda: client.ask(directive(tool=[call]), tools=True))
    check_block(client, error)


def block_in_stream(sdk, base_url):
    before = "These words are harmless and may be read by anybody. " * 6
    ask = directive(content=f"{before}It is called {PHRASE}, of course. {before}", split=4, delay_ms=2)
    client = sdk(base_url)
    partial = Answer()
    try:
        client.stream(ask, answer=partial)
    except client.api_error as error:
        equal(client.calls, 1, "the number of requests")
        check(RULE in str(error), f"the exception does not name {RULE}: {error}")
        check(PHRASE.lower() not in str(error).lower(), "the message repeats the forbidden phrase")
        check(partial.text != "", "nothing was streamed before the block")
        allowed = f"{before}It is called "
        check(allowed.startswith(partial.text), f"part of the match came through: {partial.text[-30:]!r}")
        return
    raise AssertionError(f"no exception; the answer ends in {partial.text[-60:]!r}")


def schema_violation_in_stream(sdk, base_url):
    before = "These words are harmless and may be read by anybody. " * 6
    ask = directive(content=json.dumps({"note": before, "total": "behind"}), split=4, delay_ms=2)
    client = sdk(base_url)
    client.schema = FORM_SCHEMA
    partial = Answer()
    try:
        client.stream(ask, answer=partial)
    except client.api_error as error:
        equal(client.calls, 1, "the number of requests")
        check("schema_violation" in str(error), f"the exception does not say what is wrong: {error}")
        check("harmless" in partial.text, "nothing was streamed before the block")
        check("behind" not in partial.text + str(error), f"the broken value came through: {partial.text[-30:]!r}")
        return
    raise AssertionError(f"no exception; the answer ends in {partial.text[-60:]!r}")


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


def main():
    base_url = os.environ.get("CLYRA_BASE_URL", "").rstrip("/")
    if not base_url:
        print("clients.py: set CLYRA_BASE_URL to where Clyra listens, such as http://127.0.0.1:8080", file=sys.stderr)
        return 2
    cases = dict(CLEAN_CASES)
    if os.environ.get("CLYRA_CASES", "all") != "clean":
        cases.update(POLICY_CASES)
    failed = 0
    for sdk in (OpenAi, Responses, Anthropic, Google):
        for name, case in cases.items():
            outcome = run(case, sdk, base_url)
            failed += not outcome["ok"]
            print(json.dumps({"case": f"{sdk.name}-python: {name}", **outcome}), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
