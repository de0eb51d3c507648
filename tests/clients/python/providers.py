"""The SDKs of OpenAI, Anthropic and Google."""

import json

import anthropic
import openai
from google import genai
from google.genai import errors as genai_errors

from cases import CASE_SECONDS_MAX, TOOL_SCHEMA, Answer, Sdk, check


class OpenAi(Sdk):
    """The `openai` package, chat completions."""

    name = "openai"
    sdk = openai
    tells_tokens = True

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
        answer.tokens = self.tokens(choice)
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
                answer.tokens += self.tokens(choice)
                for call in choice.delta.tool_calls or []:
                    name, arguments = calls.get(call.index, ("", ""))
                    calls[call.index] = (name + (call.function.name or ""), arguments + (call.function.arguments or ""))
                answer.finish = choice.finish_reason or answer.finish
        answer.tools = [(name, json.loads(arguments)) for name, arguments in calls.values()]
        return answer

    def tokens(self, choice):
        listed = choice.logprobs.content if choice.logprobs else None
        return "".join(token.token for token in listed or [])

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
        parts = [part for item in response.output if item.type == "message" for part in item.content]
        answer.tokens = "".join(token.token for part in parts for token in getattr(part, "logprobs", None) or [])
        answer.finish = response.status
        for item in response.output:
            if item.type == "function_call":
                answer.tools.append((item.name, json.loads(item.arguments)))
        return answer

    finish = {"text": "completed", "tools": "completed", "error": "error"}


class Completions(OpenAi):
    """The `openai` package, completions: the older endpoint, which knows one text and nothing else."""

    name = "openai-completions"
    without = (
        "tools plain",
        "tools streamed",
        "tool call block",
        "system prompt",
        "system prompt block",
        "schema violation in a stream",
        "schema kept in a stream",
    )

    def ask(self, user, system=None, tools=False):
        choice = self.client.completions.create(model="simulated-gpt", prompt=user).choices[0]
        answer = Answer()
        answer.text, answer.finish = choice.text, choice.finish_reason
        answer.tokens = self.tokens(choice)
        return answer

    def stream(self, user, system=None, tools=False, answer=None):
        answer = answer or Answer()
        for chunk in self.client.completions.create(model="simulated-gpt", prompt=user, stream=True):
            for choice in chunk.choices:
                if choice.text:
                    answer.add(choice.text)
                answer.tokens += self.tokens(choice)
                answer.finish = choice.finish_reason or answer.finish
        return answer

    def tokens(self, choice):
        return "".join(choice.logprobs.tokens or []) if choice.logprobs else ""


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
    tells_tokens = True
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
            listed = candidate.logprobs_result.chosen_candidates if candidate.logprobs_result else None
            answer.tokens += "".join(token.token for token in listed or [])
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
