use super::*;
use crate::upstream::{AuthSettings, AwsCredentialPlace, GoogleSettings, SecretPlace};

fn read(yaml: &str) -> Result<UpstreamSettings, String> {
    let entry: UpstreamEntry = serde_saphyr::from_str(yaml).map_err(|error| error.to_string())?;
    entry.settings(Path::new("/etc/clyra")).map_err(|error| error.to_string())
}

const DIGEST: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

#[test]
fn everything_that_may_stand_there_is_read() {
    let settings = read(
        "name: openai
endpoints:
  - { url: 'https://a.example/v1', weight: 3 }
  - { url: 'https://b.example/v1', weight: 0, name: spare }
health: { path: '/models?limit=1', interval_s: 30, unhealthy_after: 2 }
retries: { max: 2, budget_percent: 10 }
circuit: { failures: 4, open_s: 20 }
auth: { bearer: { file: key } }
tls: { ca_file: ca.pem, client_cert_file: c.pem, client_key_file: /k.pem, server_name: inner.example }
proxy: { url: 'http://proxy:3128', user: me, password: { env: PROXY_PASSWORD } }
",
    )
    .unwrap();
    let names: Vec<_> = settings.endpoints.iter().map(|endpoint| (&*endpoint.name, endpoint.weight)).collect();
    assert_eq!(names, [("a.example", 3), ("spare", 0)]);
    let health = settings.health.unwrap();
    assert_eq!((health.unhealthy_after.get(), health.healthy_after.get()), (2, 2));
    assert_eq!(settings.retries.unwrap(), RetryRules { max: 2, budget_percent: 10 });
    let circuit = settings.circuit.unwrap();
    assert_eq!((circuit.failures, circuit.within.as_secs(), circuit.open.as_secs()), (4, 30, 20));
    let AuthSettings::Header { name, prefix: "Bearer ", secret } = settings.auth else { panic!("bearer") };
    assert_eq!((name.as_str(), secret), ("authorization", SecretPlace::File("/etc/clyra/key".into())));
    assert_eq!(settings.tls.client, Some(("/etc/clyra/c.pem".into(), "/k.pem".into())));
    let proxy = settings.proxy.unwrap();
    assert_eq!((proxy.host.as_str(), proxy.port), ("proxy", 3128));
}

#[test]
fn every_kind_of_credentials_is_read() {
    let auth = |auth: &str| read(&format!("name: x\nurl: https://h\nauth: {auth}\n")).map(|read| read.auth);
    assert!(matches!(auth("passthrough"), Ok(AuthSettings::Passthrough)));
    let Ok(AuthSettings::Header { name, prefix: "", .. }) = auth("{ header: { name: Api-Key, env: K } }") else {
        panic!("header")
    };
    assert_eq!(name, "api-key");
    let aws = |entry: &str| match auth(entry) {
        Ok(AuthSettings::Aws(aws)) => (aws.service, aws.credentials),
        other => panic!("{other:?}"),
    };
    let (service, credentials) = aws("{ aws: { region: eu-central-1 } }");
    assert!(service == "bedrock" && matches!(credentials, AwsCredentialPlace::Environment));
    let (_, credentials) = aws("{ aws: { region: r, credentials: container } }");
    assert!(matches!(credentials, AwsCredentialPlace::Container));
    let (_, credentials) = aws("{ aws: { region: r, credentials: web_identity } }");
    assert!(matches!(credentials, AwsCredentialPlace::WebIdentity));
    let (_, credentials) = aws("{ aws: { region: r, credentials: { file: aws.ini, profile: p } } }");
    let AwsCredentialPlace::File { path, profile } = credentials else { panic!("file") };
    assert_eq!((path, profile.as_str()), ("/etc/clyra/aws.ini".into(), "p"));
    assert!(matches!(auth("{ google: { metadata: true } }"), Ok(AuthSettings::Google(GoogleSettings::Metadata))));
    let keys = read(&format!("name: x\nurl: https://h\nvirtual_keys: {{ {DIGEST}: {{ env: K }} }}\n")).unwrap();
    assert_eq!(keys.virtual_keys[0].0[..2], [0x9f, 0x86]);
}

#[test]
fn what_cannot_be_meant_is_refused_and_secrets_are_not_quoted() {
    for (yaml, says) in [
        ("name: x", "either url or endpoints"),
        ("name: x\nurl: https://h\nendpoints: [{ url: 'https://i' }]", "either url or endpoints"),
        ("name: x\nendpoints: [{ url: 'https://h' }, { url: 'https://h' }]", "its own name"),
        ("name: x\nendpoints: [{ url: 'https://h', weight: 0 }]", "weight"),
        ("name: x\nendpoints: [{ url: 'https://h', name: 'a b' }]", "letters"),
        ("name: x\nurl: https://h\nretries: { max: 9 }", "retries.max"),
        ("name: x\nurl: https://h\nhealth: { path: models }", "health.path"),
        ("name: x\nurl: https://h\nauth: { bearer: {} }", "either file or env"),
        ("name: x\nurl: https://h\nauth: { bearer: { value: sk-1 } }", "value"),
        ("name: x\nurl: https://h\nauth: { header: { name: host, env: K } }", "auth.header.name"),
        ("name: x\nurl: https://h\nauth: { aws: { region: 'eu.evil.example/' } }", "auth.aws"),
        ("name: x\nurl: https://h\nauth: { google: {} }", "auth.google"),
        ("name: x\nurl: https://h\ntls: { client_cert_file: c }", "belong together"),
        ("name: x\nurl: http://h\ntls: { ca_file: c }", "https only"),
        ("name: x\nurl: https://h\nvirtual_keys: { abc: { env: K } }", "64 hexadecimal"),
        ("name: x\nurl: https://h\nproxy: 'http://u:hunter2@p'", "proxy is not"),
        ("name: x\nurl: https://h\nproxy: 'https://p'", "proxy is not"),
        ("name: x\nurl: https://h\ncircuit: { open_s: 0 }", "circuit.open_s"),
    ] {
        let message = read(yaml).unwrap_err();
        assert!(message.contains(says) && !message.contains("hunter2"), "{yaml}: {message}");
    }
    let both = format!(
        "name: x\nurl: https://h\nauth: {{ bearer: {{ env: K }} }}\nvirtual_keys: {{ {DIGEST}: {{ env: K }} }}\n"
    );
    assert!(read(&both).unwrap_err().contains("leave out auth"));
}
