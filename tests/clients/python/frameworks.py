"""LangChain (over the SDKs of OpenAI and Anthropic) and LiteLLM (its own, for both).

They build their HTTP clients themselves and show little of what these received, so that what goes over the wire is noted
on its way, in the libraries that they use.
"""

import ast
import json
import os

# Set before the import, which would look for a newer price list on the network.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
os.environ["LANGSMITH_TRACING"] = "false"

import anthropic
import httpx
import httpx2
import litellm
import openai
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI

from cases import CASE_SECONDS_MAX, TOOL_SCHEMA, Answer, Sdk

litellm.suppress_debug_info = True
litellm.telemetry = False


class Wire:
    """What passed since the last client was made: how many requests, and the headers of the last answer."""

    calls = 0
    headers = None

    @classmethod
    def watch(cls, library):
        send = library.Client.send

        def noted(client, *request, **options):
            cls.calls += 1
            response = send(client, *request, **options)
            cls.headers = response.headers
            return response

        library.Client.send = noted


Wire.watch(httpx)
Wire.watch(httpx2)

FUNCTION = {"name": "weather", "description": "The weather.", "parameters": TOOL_SCHEMA}


class Framework(Sdk):
    def __init__(self):
        Wire.calls, Wire.headers = 0, None

    @property
    def calls(self):
        return Wire.calls

    def headers(self, _error):
        return Wire.headers

class LangChain(Framework):
    def ask(self, user, system=None, tools=False):
        return self.read(self.runnable(tools).invoke(self.messages(user, system)), Answer())

    def stream(self, user, system=None, tools=False, answer=None):
        answer = answer or Answer()
        whole = None
        for chunk in self.runnable(tools).stream(self.messages(user, system)):
            if chunk.text:
                answer.add(chunk.text)
            whole = chunk if whole is None else whole + chunk
        read = self.read(whole, Answer())
        answer.tools, answer.finish = read.tools, read.finish
        return answer

    def messages(self, user, system):
        messages = [HumanMessage(user)]
        return [SystemMessage(system), *messages] if system else messages

    def runnable(self, tools):
        return self.model.bind_tools([{"type": "function", "function": FUNCTION}]) if tools else self.model

    def read(self, message, answer):
        answer.text = message.text
        answer.tools = [(call["name"], call["args"]) for call in message.tool_calls]
        answer.finish = message.response_metadata.get(self.finish_name)
        return answer

    # LangChain raises classes of its own that are also those of the SDK, which applications catch.
    def is_kind(self, error, kind):
        return isinstance(error, kind)


class LangChainOpenAi(LangChain):
    name = "langchain-openai"
    sdk = openai
    finish_name = "finish_reason"
    finish = {"text": "stop", "tools": "tool_calls"}
    error_types = {429: "requests", 500: "server_error"}

    def __init__(self, base_url, max_retries=None):
        super().__init__()
        options = {} if max_retries is None else {"max_retries": max_retries}
        self.model = ChatOpenAI(
            model="simulated-gpt",
            base_url=base_url + "/v1",
            api_key="sk-simulated",
            timeout=CASE_SECONDS_MAX,
            **options,
        )

    def runnable(self, tools):
        runnable = super().runnable(tools)
        if self.schema:
            form = {"type": "json_schema", "json_schema": {"name": "form", "schema": self.schema}}
            # Bound as it is; the helper for it parses the answer as well, which is not what is asked here.
            runnable = runnable.bind(extra_body={"response_format": form})
        return runnable

    def error_message(self, error):
        return error.body["message"]

    def error_type(self, error):
        return error.body["type"]


class LangChainAnthropic(LangChain):
    name = "langchain-anthropic"
    sdk = anthropic
    finish_name = "stop_reason"
    finish = {"text": "end_turn", "tools": "tool_use"}
    error_types = {429: "rate_limit_error", 500: "api_error"}

    def __init__(self, base_url, max_retries=None):
        super().__init__()
        options = {} if max_retries is None else {"max_retries": max_retries}
        self.model = ChatAnthropic(
            model="simulated-claude",
            base_url=base_url,
            api_key="sk-ant-simulated",
            timeout=CASE_SECONDS_MAX,
            max_tokens=1024,
            **options,
        )

    def runnable(self, tools):
        runnable = super().runnable(tools)
        if self.schema:
            form = {"type": "json_schema", "schema": self.schema}
            runnable = runnable.bind(extra_body={"output_config": {"format": form}})
        return runnable

    def error_message(self, error):
        return error.body["error"]["message"]

    def error_type(self, error):
        return error.body["error"]["type"]


class LiteLlm(Framework):
    """Talks to OpenAI through OpenAI's SDK."""

    name = "litellm-openai"
    sdk = litellm
    # It puts its own class on every error, which says what the provider's own type would.
    error_types = {429: "RateLimitError", 500: "InternalServerError"}
    finish = {"text": "stop", "tools": "tool_calls"}
    model = "openai/simulated-gpt"
    blocked = litellm.ContentPolicyViolationError

    def __init__(self, base_url, max_retries=None):
        super().__init__()
        self.options = {} if max_retries is None else {"max_retries": max_retries}
        self.base_url = self.address(base_url)

    def address(self, base_url):
        return base_url + "/v1"

    @property
    def api_error(self):
        return openai.APIError

    def kind(self, name):
        return self.blocked if name == "BadRequestError" else getattr(litellm, name)

    def arguments(self, user, system, tools):
        messages = [{"role": "user", "content": user}]
        if system:
            messages.insert(0, {"role": "system", "content": system})
        arguments = {"model": self.model, "messages": messages, "base_url": self.base_url, "api_key": "sk-simulated"}
        if tools:
            arguments["tools"] = [{"type": "function", "function": FUNCTION}]
        if self.schema:
            form = {"type": "json_schema", "json_schema": {"name": "form", "schema": self.schema}}
            arguments["response_format"] = form
        return {**arguments, "timeout": CASE_SECONDS_MAX, **self.options}

    def ask(self, user, system=None, tools=False):
        choice = litellm.completion(**self.arguments(user, system, tools)).choices[0]
        answer = Answer()
        answer.text, answer.finish = choice.message.content or "", choice.finish_reason
        for call in choice.message.tool_calls or []:
            answer.tools.append((call.function.name, json.loads(call.function.arguments)))
        return answer

    def stream(self, user, system=None, tools=False, answer=None):
        answer = answer or Answer()
        calls = {}
        for chunk in litellm.completion(stream=True, **self.arguments(user, system, tools)):
            for choice in chunk.choices:
                if choice.delta.content:
                    answer.add(choice.delta.content)
                for call in choice.delta.tool_calls or []:
                    name, arguments = calls.get(call.index, ("", ""))
                    calls[call.index] = (name + (call.function.name or ""), arguments + (call.function.arguments or ""))
                answer.finish = choice.finish_reason or answer.finish
        answer.tools = [(name, json.loads(arguments)) for name, arguments in calls.values()]
        return answer

    # The exception itself also has the application's own prompt, which LiteLLM puts there.
    def told(self, error):
        return [str(error), error.message]

    def error_message(self, error):
        return error.message.rpartition("Exception - ")[2]

    def error_type(self, error):
        return type(error).__name__


class LiteLlmAnthropic(LiteLlm):
    """Talks to Anthropic with a client of its own."""

    name = "litellm-anthropic"
    model = "anthropic/simulated-claude"
    # It looks at the words of OpenAI's errors only.
    blocked = litellm.BadRequestError
    # For a model that it does not know it asks for a document as the arguments of a tool, not as an answer.
    without = ("schema violation in a stream", "schema kept in a stream")

    def address(self, base_url):
        return base_url

    def error_message(self, error):
        # The body as it came, with LiteLLM's own words behind it; of a stream it is written as Python writes bytes.
        text = super().error_message(error)
        if text.startswith("b'"):
            text = ast.literal_eval(text[: text.rindex("'") + 1]).decode()
        body, _ = json.JSONDecoder().raw_decode(text)
        return body["error"]["message"]
