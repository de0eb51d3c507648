"""The `ollama` package: chat and generate."""

import ollama

from cases import CASE_SECONDS_MAX, TOOL_SCHEMA, Answer, Sdk


class Ollama(Sdk):
    name = "ollama"
    tells_tokens = True
    api_error = ollama.ResponseError

    def __init__(self, base_url, max_retries=None):
        self.calls = 0
        self.answered = None
        hooks = {"request": [self.count], "response": [self.note]}
        self.client = ollama.Client(host=base_url, timeout=CASE_SECONDS_MAX, event_hooks=hooks)

    def count(self, _request):
        self.calls += 1

    def note(self, response):
        self.answered = response.headers

    def arguments(self, user, system, tools):
        messages = [{"role": "user", "content": user}]
        if system:
            messages.insert(0, {"role": "system", "content": system})
        arguments = {"model": "simulated-llama", "messages": messages}
        if tools:
            function = {"name": "weather", "description": "The weather.", "parameters": TOOL_SCHEMA}
            arguments["tools"] = [{"type": "function", "function": function}]
        if self.schema:
            arguments["format"] = self.schema
        return arguments

    def ask(self, user, system=None, tools=False):
        answer = Answer()
        self.add(self.client.chat(**self.arguments(user, system, tools)), answer)
        return answer

    def stream(self, user, system=None, tools=False, answer=None):
        answer = answer or Answer()
        for line in self.client.chat(stream=True, **self.arguments(user, system, tools)):
            self.add(line, answer)
        return answer

    def add(self, line, answer):
        if line.message.content:
            answer.add(line.message.content)
        answer.tokens += self.tokens(line)
        for call in line.message.tool_calls or []:
            answer.tools.append((call.function.name, dict(call.function.arguments)))
        answer.finish = line.done_reason or answer.finish

    def tokens(self, line):
        return "".join(token.token for token in line.logprobs or [])

    def kind(self, _name):
        return ollama.ResponseError

    def error_message(self, error):
        return error.error

    # Ollama's errors have no type.
    error_types = {429: None, 500: None}

    def error_type(self, _error):
        return None

    # The exception has nothing of the response but its message.
    def headers(self, _error):
        return self.answered

    def told(self, error):
        return [str(error), error.error]

    finish = {"text": "stop", "tools": "stop"}


class Generate(Ollama):
    """One text, not a conversation."""

    name = "ollama-generate"
    # It has no tools.
    without = ("tools plain", "tools streamed", "tool call block")

    def arguments(self, user, system, tools):
        arguments = {"model": "simulated-llama", "prompt": user}
        if system:
            arguments["system"] = system
        if self.schema:
            arguments["format"] = self.schema
        return arguments

    def ask(self, user, system=None, tools=False):
        answer = Answer()
        self.add(self.client.generate(**self.arguments(user, system, tools)), answer)
        return answer

    def stream(self, user, system=None, tools=False, answer=None):
        answer = answer or Answer()
        for line in self.client.generate(stream=True, **self.arguments(user, system, tools)):
            self.add(line, answer)
        return answer

    def add(self, line, answer):
        if line.response:
            answer.add(line.response)
        answer.tokens += self.tokens(line)
        answer.finish = line.done_reason or answer.finish
