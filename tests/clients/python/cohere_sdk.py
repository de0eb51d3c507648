"""The `cohere` package, version 2 of chat."""

import json

import cohere
import httpx
from cohere.core.api_error import ApiError
from cohere.core.request_options import RequestOptions

from cases import CASE_SECONDS_MAX, TOOL_SCHEMA, Answer, Sdk


class Cohere(Sdk):
    name = "cohere"
    tells_tokens = True
    api_error = ApiError
    # The end of the message says that it failed, and is handed to the application like any other event.
    raises_errors_in_streams = False
    raises_blocks_in_streams = False

    def __init__(self, base_url, max_retries=None):
        self.calls = 0
        self.options = RequestOptions() if max_retries is None else RequestOptions(max_retries=max_retries)
        wire = httpx.Client(timeout=CASE_SECONDS_MAX, event_hooks={"request": [self.count]})
        self.client = cohere.ClientV2(api_key="simulated", base_url=base_url, httpx_client=wire)

    def count(self, _request):
        self.calls += 1

    def arguments(self, user, system, tools):
        messages = [{"role": "user", "content": user}]
        if system:
            messages.insert(0, {"role": "system", "content": system})
        arguments = {"model": "simulated-command", "messages": messages, "request_options": self.options}
        if tools:
            function = {"name": "weather", "description": "The weather.", "parameters": TOOL_SCHEMA}
            arguments["tools"] = [{"type": "function", "function": function}]
        if self.schema:
            arguments["response_format"] = {"type": "json_object", "json_schema": self.schema}
        return arguments

    def ask(self, user, system=None, tools=False):
        response = self.client.chat(**self.arguments(user, system, tools))
        answer = Answer()
        answer.text = "".join(block.text for block in response.message.content or [] if block.type == "text")
        for call in response.message.tool_calls or []:
            answer.tools.append((call.function.name, json.loads(call.function.arguments)))
        answer.finish = response.finish_reason
        answer.tokens = "".join(token.text for token in response.logprobs or [])
        return answer

    def stream(self, user, system=None, tools=False, answer=None):
        answer = answer or Answer()
        names, inputs = {}, {}
        for event in self.client.chat_stream(**self.arguments(user, system, tools)):
            if event.type == "content-delta":
                answer.add(event.delta.message.content.text)
                answer.tokens += event.logprobs.text if event.logprobs else ""
            elif event.type == "tool-call-start":
                names[event.index] = event.delta.message.tool_calls.function.name
            elif event.type == "tool-call-delta":
                piece = event.delta.message.tool_calls.function.arguments
                inputs[event.index] = inputs.get(event.index, "") + piece
            elif event.type == "message-end":
                answer.finish = event.delta.finish_reason
                answer.error = event.delta.error
        answer.tools = [(names[index], json.loads(text)) for index, text in inputs.items()]
        return answer

    def kind(self, name):
        return getattr(cohere, {"RateLimitError": "TooManyRequestsError"}.get(name, name))

    def headers(self, error):
        return error.headers

    def told(self, error):
        return [str(error), json.dumps(error.body)]

    def error_message(self, error):
        return error.body["message"]

    # Cohere's errors have no type.
    error_types = {429: None, 500: None}

    def error_type(self, _error):
        return None

    finish = {"text": "COMPLETE", "tools": "TOOL_CALL", "error": "ERROR"}
