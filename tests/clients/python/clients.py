"""The SDKs for Python that applications use, as they are, against Clyra.

Usage: clients.py core|more
  core   OpenAI (chat completions, responses, completions), Anthropic, Google, Ollama (chat, generate)
  more   Bedrock (boto3), Cohere, LangChain, LiteLLM

Environment:
  CLYRA_BASE_URL   where Clyra listens (or the simulated provider, see below), without a path
  CLYRA_CASES      "all" (the default), or "clean": only the cases that need no policy, which must also pass
                   straight against the simulated provider

Behind Clyra stands the simulated provider, which answers what a directive in the prompt tells it to. The policy in
force is ../policy.yaml. Prints one JSON line per case, {"case", "ok", "detail"}; exits with 1 if any failed.
"""

import sys

import cases


# Each is imported where it is asked for: the packages of the others may be missing.
def core():
    from ollama_sdk import Generate, Ollama
    from providers import Anthropic, Completions, Google, OpenAi, Responses

    return [OpenAi, Responses, Completions, Anthropic, Google, Ollama, Generate]


def more():
    from bedrock_sdk import Converse, Invoke
    from cohere_sdk import Cohere
    from frameworks import LangChainAnthropic, LangChainOpenAi, LiteLlm, LiteLlmAnthropic

    return [Converse, Invoke, Cohere, LangChainOpenAi, LangChainAnthropic, LiteLlm, LiteLlmAnthropic]


SETS = {"core": core, "more": more}

if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in SETS:
        print(f"usage: clients.py {'|'.join(SETS)}", file=sys.stderr)
        sys.exit(2)
    sys.exit(cases.main(SETS[sys.argv[1]]()))
