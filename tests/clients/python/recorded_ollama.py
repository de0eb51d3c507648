"""The recordings of Ollama's endpoints as the `ollama` package reads them."""

import json

import ollama

from recorded_reading import Read, Refused, failed


def method(url, headers, exchange, end, asks):
    """What the method of a client gives for the request as recorded."""
    base, found, _ = exchange["path"].rpartition(end)
    if not found:
        raise Refused(f"no method leads to {exchange['path']}")
    client = ollama.Client(host=url + base, headers=headers)
    asked = json.loads(exchange["request"]) | {"stream": exchange["stream"]}
    return getattr(client, asks)(**asked)


def answered(url, headers, exchange, end, asks, piece):
    read = Read()
    try:
        answer = method(url, headers, exchange, end, asks)
        for part in answer if exchange["stream"] else [answer]:
            piece(read, part)
            if part.done_reason is not None:
                read.finish[""] = part.done_reason
            if part.eval_count is not None or part.prompt_eval_count is not None:
                read.count(input=part.prompt_eval_count, output=part.eval_count)
    except ollama.ResponseError as error:
        return failed(error.status_code, error.error)
    return read


def message(read, part):
    read.text("content", "", part.message.content)
    read.text("reasoning", "", part.message.thinking)
    for call in part.message.tool_calls or []:
        read.call(call.function.name, dict(call.function.arguments))


def generated(read, part):
    read.text("content", "", part.response)
    read.text("reasoning", "", part.thinking)


APIS = {
    "ollama.chat": lambda url, headers, exchange: answered(url, headers, exchange, "/api/chat", "chat", message),
    "ollama.generate": lambda url, headers, exchange: answered(
        url, headers, exchange, "/api/generate", "generate", generated
    ),
}
