"""Writes sigv4.json: requests as botocore signs them, which is what Clyra's signatures are compared with.

    pip install botocore==1.44.8 && python sigv4.py > sigv4.json
"""

import datetime
import json
import sys

import botocore.auth
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

NOW = datetime.datetime(2026, 11, 29, 12, 0, 0)
botocore.auth.get_current_datetime = lambda remove_tzinfo=True: NOW

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
TOKEN = "FwoGZXIvYXdzEXAMPLE//token=="
HOST = "https://bedrock-runtime.eu-central-1.amazonaws.com"
ARN = "arn%3Aaws%3Abedrock%3Aeu-central-1%3A123456789012%3Ainference-profile%2Feu.amazon.nova-lite-v1%3A0"
CASES = [
    ("POST", HOST, "/model/anthropic.claude-3-5-sonnet-20240620-v1%3A0/converse", '{"messages":[]}', None),
    ("POST", HOST, "/model/anthropic.claude-3-5-sonnet-20240620-v1:0/invoke", '{"a":"ü"}', TOKEN),
    ("POST", HOST, f"/model/{ARN}/converse-stream", "{}", TOKEN),
    ("POST", HOST, "/model/amazon.titan-text-express-v1/invoke", "", None),
    ("GET", "http://127.0.0.1:4566", "/foundation-models?b=2&a=1&c=%20x&d", "", None),
    ("GET", "http://localhost:4566", "/x/~-_./%E2%82%AC", "", None),
]

vectors = []
for method, base, path, body, token in CASES:
    headers = {"content-type": "application/json"} if body else {}
    request = AWSRequest(method=method, url=base + path, data=body.encode(), headers=headers)
    SigV4Auth(Credentials("AKIDEXAMPLE", SECRET, token), "bedrock", "eu-central-1").add_auth(request)
    vectors.append({
        "method": method, "base": base, "path": path, "body": body, "token": token,
        "authorization": request.headers["Authorization"],
    })
json.dump(vectors, sys.stdout, indent=1, ensure_ascii=False)
print()
