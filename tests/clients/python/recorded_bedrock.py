"""The recordings of Bedrock's endpoints as `boto3` reads them.

What an answer of `invoke_model` holds is the model's business: boto3 hands over the document, or its pieces, and the
application reads them by the family of the model.
"""

import json
from urllib.parse import unquote

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from recorded_reading import Read, failed, get


def client(url, headers, exchange):
    """A client that sends the request as recorded."""
    made = boto3.client(
        "bedrock-runtime",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="simulated",
        aws_secret_access_key="simulated",
        config=Config(read_timeout=60, proxies={}, retries={"total_max_attempts": 1}),
    )

    def as_recorded(params, **_):
        params["headers"] |= headers
        params["body"] = exchange["request"].encode()

    made.meta.events.register("before-call.bedrock-runtime", as_recorded)
    return made


def model(exchange):
    return unquote(exchange["path"].split("/model/")[1].rsplit("/", 1)[0])


def asking(ask):
    """Errors become what was read."""

    def asked(url, headers, exchange):
        read = Read()
        try:
            ask(read, client(url, headers, exchange), exchange)
        except ClientError as error:
            return failed(error.response["ResponseMetadata"]["HTTPStatusCode"], error.response["Error"]["Message"])
        return read

    return asked


def tokens(read, usage):
    read.count(
        input=usage.get("inputTokens"), output=usage.get("outputTokens"), cached=usage.get("cacheReadInputTokens")
    )


def block(read, index, block):
    """A block of a message in the words of Converse, which Nova speaks as well."""
    read.text("content", index, block.get("text"))
    for part in get(block, "citationsContent", "content") or []:
        read.text("content", (index, "cited", id(part)), part.get("text"))
    read.text("reasoning", index, get(block, "reasoningContent", "reasoningText", "text"))
    if "toolUse" in block:
        read.call(block["toolUse"]["name"], block["toolUse"]["input"])


def converse(read, made, exchange):
    answer = made.converse(modelId=model(exchange))
    for index, one in enumerate(answer["output"]["message"]["content"]):
        block(read, index, one)
    read.finish[""] = answer["stopReason"]
    tokens(read, answer["usage"])


def converse_stream(read, made, exchange):
    converse_events(read, made.converse_stream(modelId=model(exchange))["stream"], lambda index: index)


def converse_events(read, events, place):
    calls = {}
    for event in events:
        start, delta = event.get("contentBlockStart"), event.get("contentBlockDelta")
        if start is not None and "toolUse" in start.get("start", {}):
            calls[start["contentBlockIndex"]] = [start["start"]["toolUse"]["name"], ""]
        if delta is not None:
            index, said = delta["contentBlockIndex"], delta["delta"]
            read.text("content", place(index), said.get("text"))
            reasons = said.get("reasoningContent", {})
            read.text("reasoning", place(index), reasons.get("text") or get(reasons, "reasoningText", "text"))
            if "toolUse" in said:
                calls[index][1] += said["toolUse"].get("input", "")
        if "messageStop" in event:
            read.finish[""] = event["messageStop"]["stopReason"]
        if "metadata" in event and "usage" in event["metadata"]:
            tokens(read, event["metadata"]["usage"])
    read.calls += calls.values()


def invoke(read, made, exchange):
    answer = json.loads(made.invoke_model(modelId=model(exchange))["body"].read())
    for names, counts in FAMILIES:
        if all(name in answer for name in names):
            return counts(read, answer)
    # Vectors and ranks have no text.
    tokens_named(read, answer, "inputTextTokenCount", None)
    return None


def tokens_named(read, answer, inputs, outputs):
    read.count(input=answer.get(inputs), output=answer.get(outputs) if outputs else None)


def anthropic(read, answer):
    for index, part in enumerate(answer["content"]):
        read.text("content", index, part.get("text"))
        read.text("reasoning", index, part.get("thinking"))
        if part["type"] == "tool_use":
            read.call(part["name"], part["input"])
    read.finish[""] = answer["stop_reason"]
    usage = answer["usage"]
    read.count(
        input=usage["input_tokens"], output=usage["output_tokens"], cached=usage.get("cache_read_input_tokens")
    )


def nova(read, answer):
    for index, one in enumerate(answer["output"]["message"]["content"]):
        block(read, index, one)
    read.finish[""] = answer["stopReason"]
    usage = answer["usage"]
    read.count(
        input=usage["inputTokens"], output=usage.get("outputTokens"), cached=usage.get("cacheReadInputTokenCount")
    )


def titan(read, answer):
    for index, result in enumerate(answer["results"]):
        read.text("content", index, result["outputText"])
        read.finish[""] = result["completionReason"]
    read.count(input=answer["inputTextTokenCount"], output=sum(result["tokenCount"] for result in answer["results"]))


def llama(read, answer):
    read.text("content", "", answer["generation"])
    read.finish[""] = answer["stop_reason"]
    tokens_named(read, answer, "prompt_token_count", "generation_token_count")


def old_anthropic(read, answer):
    read.text("content", "", answer["completion"])
    read.finish[""] = answer["stop_reason"]


def command(read, answer):
    for index, generation in enumerate(answer["generations"]):
        read.text("content", index, generation["text"])
        read.finish[index] = generation["finish_reason"]


def command_r(read, answer):
    read.text("content", "", answer["text"])
    read.finish[""] = answer["finish_reason"]


def jurassic(read, answer):
    for index, completion in enumerate(answer["completions"]):
        read.text("content", index, completion["data"]["text"])
        read.finish[index] = completion["finishReason"]["reason"]


def jamba(read, answer):
    for choice in answer["choices"]:
        read.text("content", choice["index"], choice["message"]["content"])
        read.finish[choice["index"]] = choice["finish_reason"]
    read.count(input=answer["usage"]["prompt_tokens"], output=answer["usage"]["completion_tokens"])


# By the members that only they have.
FAMILIES = [
    (("type", "content"), anthropic),
    (("output", "stopReason"), nova),
    (("results", "inputTextTokenCount"), titan),
    (("generation",), llama),
    (("completion",), old_anthropic),
    (("generations",), command),
    (("text", "finish_reason"), command_r),
    (("completions",), jurassic),
    (("choices",), jamba),
]


def invoke_stream(read, made, exchange):
    pieces = made.invoke_model_with_response_stream(modelId=model(exchange))["body"]
    events = [json.loads(piece["chunk"]["bytes"]) for piece in pieces]
    for metrics in (event[METRICS] for event in events if METRICS in event):
        read.count(
            input=metrics["inputTokenCount"],
            output=metrics["outputTokenCount"],
            cached=metrics.get("cacheReadInputTokenCount"),
        )
    if "messageStart" in events[0]:
        # Nova counts each piece of a text as a block; it is one text all the same.
        return converse_events(read, events, lambda index: "")
    if events[0].get("type") == "message_start":
        return anthropic_events(read, events)
    for event in events:
        for name in ("outputText", "completion", "generation", "text"):
            read.text("content", "", event.get(name))
        for name in ("completionReason", "stop_reason", "finish_reason"):
            read.finish[""] = event.get(name) or read.finish.get("")
    return None


def anthropic_events(read, events):
    calls = {}
    for event in events:
        index, delta = event.get("index"), event.get("delta", {})
        read.text("content", index, delta.get("text"))
        read.text("reasoning", index, delta.get("thinking"))
        if get(event, "content_block", "type") == "tool_use":
            calls[index] = [event["content_block"]["name"], ""]
        if delta.get("type") == "input_json_delta":
            calls[index][1] += delta["partial_json"]
        read.finish[""] = delta.get("stop_reason") or read.finish.get("")
        # What the model's maker counts comes before what AWS does.
        if "output_tokens" in event.get("usage", {}):
            read.tokens["output"] = event["usage"]["output_tokens"]
    read.calls += calls.values()


METRICS = "amazon-bedrock-invocationMetrics"
APIS = {
    "bedrock.converse": asking(converse),
    "bedrock.converse-stream": asking(converse_stream),
    "bedrock.invoke": asking(invoke),
    "bedrock.invoke-stream": asking(invoke_stream),
}
