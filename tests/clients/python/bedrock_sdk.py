"""The `boto3` package for Amazon Bedrock: `converse` and, in Anthropic's format, `invoke_model`.

Requests are signed (SigV4) for Clyra's address, with keys of nobody. The simulated provider checks no signature.
"""

import json

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from cases import CASE_SECONDS_MAX, TOOL_SCHEMA, Answer, Sdk


class Bedrock(Sdk):
    api_error = ClientError

    def __init__(self, base_url, max_retries=None):
        self.calls = 0
        options = {} if max_retries is None else {"retries": {"total_max_attempts": max_retries + 1}}
        self.client = boto3.client(
            "bedrock-runtime",
            endpoint_url=base_url,
            region_name="us-east-1",
            aws_access_key_id="simulated",
            aws_secret_access_key="simulated",
            config=Config(read_timeout=CASE_SECONDS_MAX, proxies={}, **options),
        )
        self.client.meta.events.register("before-send.bedrock-runtime", self.count)

    def count(self, **_request):
        self.calls += 1

    def kind(self, name):
        names = {
            "BadRequestError": "ValidationException",
            "RateLimitError": "ThrottlingException",
            "InternalServerError": "InternalServerException",
        }
        return getattr(self.client.exceptions, names[name])

    def status(self, error):
        return error.response["ResponseMetadata"]["HTTPStatusCode"]

    def headers(self, error):
        return error.response["ResponseMetadata"]["HTTPHeaders"]

    def told(self, error):
        return [str(error), json.dumps(error.response, default=str)]

    def error_message(self, error):
        return error.response["Error"]["Message"]

    def error_type(self, error):
        return error.response["Error"]["Code"]

    error_types = {429: "ThrottlingException", 500: "InternalServerException"}
    finish = {"text": "end_turn", "tools": "tool_use"}


class Converse(Bedrock):
    name = "bedrock-converse"

    def arguments(self, user, system, tools):
        messages = [{"role": "user", "content": [{"text": user}]}]
        arguments = {"modelId": "simulated.claude-v1:0", "messages": messages}
        if system:
            arguments["system"] = [{"text": system}]
        if tools:
            spec = {"name": "weather", "description": "The weather.", "inputSchema": {"json": TOOL_SCHEMA}}
            arguments["toolConfig"] = {"tools": [{"toolSpec": spec}]}
        if self.schema:
            structure = {"jsonSchema": {"name": "form", "schema": json.dumps(self.schema)}}
            arguments["outputConfig"] = {"textFormat": {"type": "json_schema", "structure": structure}}
        return arguments

    def ask(self, user, system=None, tools=False):
        response = self.client.converse(**self.arguments(user, system, tools))
        answer = Answer()
        for block in response["output"]["message"]["content"]:
            if "text" in block:
                answer.text += block["text"]
            elif "toolUse" in block:
                answer.tools.append((block["toolUse"]["name"], block["toolUse"]["input"]))
        answer.finish = response["stopReason"]
        return answer

    def stream(self, user, system=None, tools=False, answer=None):
        answer = answer or Answer()
        names, inputs = {}, {}
        for event in self.client.converse_stream(**self.arguments(user, system, tools))["stream"]:
            if "contentBlockStart" in event:
                start = event["contentBlockStart"]
                names[start["contentBlockIndex"]] = start["start"]["toolUse"]["name"]
            elif "contentBlockDelta" in event:
                index, delta = event["contentBlockDelta"]["contentBlockIndex"], event["contentBlockDelta"]["delta"]
                if "text" in delta:
                    answer.add(delta["text"])
                elif "toolUse" in delta:
                    inputs[index] = inputs.get(index, "") + delta["toolUse"]["input"]
            elif "messageStop" in event:
                answer.finish = event["messageStop"]["stopReason"]
        answer.tools = [(names[index], json.loads(text)) for index, text in inputs.items()]
        return answer


class Invoke(Bedrock):
    name = "bedrock-invoke"

    def arguments(self, user, system, tools):
        body = {
            "anthropic_version": "bedrock-2023-05-31",
            "max_tokens": 1024,
            "messages": [{"role": "user", "content": user}],
        }
        if system:
            body["system"] = system
        if tools:
            body["tools"] = [{"name": "weather", "description": "The weather.", "input_schema": TOOL_SCHEMA}]
        if self.schema:
            body["output_config"] = {"format": {"type": "json_schema", "schema": self.schema}}
        return {"modelId": "simulated.claude-v1:0", "body": json.dumps(body)}

    def ask(self, user, system=None, tools=False):
        response = self.client.invoke_model(**self.arguments(user, system, tools))
        message = json.loads(response["body"].read())
        answer = Answer()
        for block in message["content"]:
            if block["type"] == "text":
                answer.text += block["text"]
            elif block["type"] == "tool_use":
                answer.tools.append((block["name"], block["input"]))
        answer.finish = message["stop_reason"]
        return answer

    def stream(self, user, system=None, tools=False, answer=None):
        answer = answer or Answer()
        names, inputs = {}, {}
        response = self.client.invoke_model_with_response_stream(**self.arguments(user, system, tools))
        for wrapped in response["body"]:
            event = json.loads(wrapped["chunk"]["bytes"])
            if event["type"] == "content_block_start" and event["content_block"]["type"] == "tool_use":
                names[event["index"]] = event["content_block"]["name"]
            elif event["type"] == "content_block_delta" and event["delta"]["type"] == "text_delta":
                answer.add(event["delta"]["text"])
            elif event["type"] == "content_block_delta" and event["delta"]["type"] == "input_json_delta":
                inputs[event["index"]] = inputs.get(event["index"], "") + event["delta"]["partial_json"]
            elif event["type"] == "message_delta":
                answer.finish = event["delta"]["stop_reason"]
        answer.tools = [(names[index], json.loads(text)) for index, text in inputs.items()]
        return answer
