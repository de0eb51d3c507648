"""The recordings of Anthropic's endpoints as the `anthropic` package reads them."""

import json

import anthropic

from recorded_reading import Read, Refused, counted, failed, get

HTTP = anthropic.DefaultHttpxClient(timeout=60)


def client(url, headers, exchange, end):
    base, found, _ = exchange["path"].rpartition(end)
    if not found:
        raise Refused(f"no method leads to {exchange['path']}")
    made = anthropic.Anthropic(
        base_url=url + base, api_key="sk-ant-simulated", max_retries=0, default_headers=headers, http_client=HTTP
    )
    # What is in beta has types of its own.
    return made.beta if "beta=true" in exchange["query"] else made


def raised(error):
    return failed(error.status_code, get(error.body, "error", "message"))


def messages(url, headers, exchange):
    method = client(url, headers, exchange, "/v1/messages").messages
    asked = {"model": "m", "max_tokens": 1, "messages": [], "extra_body": json.loads(exchange["request"])}
    read = Read()
    try:
        if exchange["stream"]:
            with method.stream(**asked) as stream:
                message = stream.get_final_message()
        else:
            message = method.create(**asked)
    except anthropic.APIStatusError as error:
        return raised(error)
    for index, block in enumerate(message.content):
        read.text("content", index, get(block, "text") if block.type == "text" else None)
        read.text("reasoning", index, get(block, "thinking"))
        if block.type.endswith("tool_use"):
            read.call(block.name, block.input)
    read.finish[""] = message.stop_reason
    read.count(
        input=message.usage.input_tokens,
        output=message.usage.output_tokens,
        cached=message.usage.cache_read_input_tokens,
    )
    return read


def count_tokens(url, headers, exchange):
    method = client(url, headers, exchange, "/v1/messages/count_tokens").messages
    answer = method.count_tokens(model="m", messages=[], extra_body=json.loads(exchange["request"]))
    return counted(answer.input_tokens)


APIS = {"anthropic.messages": messages, "anthropic.count_tokens": count_tokens}
