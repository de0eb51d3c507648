//! The lock record as an annotation of a Kubernetes Lease. The API server compares the resource version, which makes the
//! swap one step. The service account needs `get`, `create` and `update` on leases in the namespace.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use clyra_receipts::lock::{LockError, LockStore};
use http::{HeaderValue, Method, header};
use serde_json::{Value, json};
use tokio::runtime::Handle;

use crate::exchange::ports::UpstreamTarget;
use crate::outbound::{Call, Outbound, Reply};

const ANNOTATION: &str = "clyra.dev/lock-record";
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Longest token that a service account has.
const TOKEN_BYTES_MAX: u64 = 16 << 10;

/// How the API server is reached.
#[derive(Debug, Clone)]
pub struct KubernetesOptions {
    /// Base URL of the API server.
    pub server: String,
    /// Read at each call: tokens are exchanged while the pod lives.
    pub token_file: PathBuf,
    pub ca_file: Option<PathBuf>,
}

impl KubernetesOptions {
    /// As every pod has it.
    pub fn in_cluster() -> Result<KubernetesOptions, String> {
        let variable = |name: &str| std::env::var(name).map_err(|_| format!("not in a cluster: {name} is not set"));
        let (host, port) = (variable("KUBERNETES_SERVICE_HOST")?, variable("KUBERNETES_SERVICE_PORT")?);
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        let account = Path::new(ACCOUNT);
        Ok(KubernetesOptions {
            server: format!("https://{host}:{port}"),
            token_file: account.join("token"),
            ca_file: Some(account.join("ca.crt")),
        })
    }
}

/// A lock record in a Lease.
#[derive(Debug)]
pub struct KubernetesLease {
    outbound: Outbound,
    target: UpstreamTarget,
    token_file: PathBuf,
    namespace: String,
    name: String,
    runtime: Handle,
}

impl KubernetesLease {
    /// Must be called on a runtime; the store's own calls block, and must not be made on one of its workers.
    pub fn new(
        options: KubernetesOptions,
        namespace: &str,
        name: &str,
        within: Duration,
    ) -> Result<KubernetesLease, Box<dyn std::error::Error + Send + Sync>> {
        Ok(KubernetesLease {
            outbound: Outbound::new(options.ca_file.as_deref(), within)?,
            target: UpstreamTarget::parse("kubernetes", &options.server)?,
            token_file: options.token_file,
            namespace: namespace.into(),
            name: name.into(),
            runtime: Handle::try_current()?,
        })
    }

    fn fault(&self, what: impl ToString) -> LockError {
        LockError::Unavailable { place: self.place(), what: what.to_string() }
    }

    fn call(&self, method: Method, name: &str, object: Option<&Value>) -> Result<Reply, LockError> {
        use std::io::Read as _;
        let mut token = String::new();
        let file = std::fs::File::open(&self.token_file).map_err(|error| self.fault(error))?;
        file.take(TOKEN_BYTES_MAX).read_to_string(&mut token).map_err(|error| self.fault(error))?;
        let bearer = HeaderValue::from_str(&format!("Bearer {}", token.trim()));
        let mut bearer = bearer.map_err(|_| self.fault("the service account's token is no token"))?;
        bearer.set_sensitive(true);
        let path = format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases{name}", self.namespace);
        let json = HeaderValue::from_static("application/json");
        let call = Call {
            target: &self.target,
            method,
            path: &path,
            headers: vec![
                (header::AUTHORIZATION, bearer),
                (header::ACCEPT, json.clone()),
                (header::CONTENT_TYPE, json),
            ],
            body: object.map_or_else(Bytes::new, |object| object.to_string().into()),
        };
        self.runtime.block_on(self.outbound.call(call)).map_err(|error| self.fault(error))
    }

    /// The Lease as it stands.
    fn lease(&self) -> Result<Option<Value>, LockError> {
        let reply = self.call(Method::GET, &format!("/{}", self.name), None)?;
        match reply.status {
            200 => serde_json::from_slice(&reply.body).map(Some).map_err(|_| self.fault("not a Lease")),
            404 => Ok(None),
            status => Err(self.fault(format!("the API server answered {status}"))),
        }
    }
}

fn record(lease: &Value) -> Option<Vec<u8>> {
    let record = lease.get("metadata")?.get("annotations")?.get(ANNOTATION)?.as_str()?;
    Some(record.as_bytes().to_vec())
}

impl LockStore for KubernetesLease {
    fn read(&self) -> Result<Option<Vec<u8>>, LockError> {
        Ok(self.lease()?.as_ref().and_then(record))
    }

    fn swap(&self, expected: Option<&[u8]>, new: &[u8]) -> Result<bool, LockError> {
        let new = std::str::from_utf8(new).map_err(|error| self.fault(error))?;
        let standing = self.lease()?;
        if standing.as_ref().and_then(record).as_deref() != expected {
            return Ok(false);
        }
        let reply = match standing {
            // With the resource version that was read: the API server refuses if it is another by now.
            Some(mut lease) => {
                let metadata = lease.get_mut("metadata").and_then(Value::as_object_mut);
                let metadata = metadata.ok_or_else(|| self.fault("a Lease without metadata"))?;
                let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
                if let Some(annotations) = annotations.as_object_mut() {
                    annotations.insert(ANNOTATION.into(), new.into());
                }
                self.call(Method::PUT, &format!("/{}", self.name), Some(&lease))?
            }
            None => {
                let lease = json!({
                    "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                    "metadata": {"name": self.name, "namespace": self.namespace, "annotations": {ANNOTATION: new}},
                    "spec": {"holderIdentity": "clyra"},
                });
                self.call(Method::POST, "", Some(&lease))?
            }
        };
        match reply.status {
            200 | 201 => Ok(true),
            409 => Ok(false),
            status => Err(self.fault(format!("the API server answered {status}"))),
        }
    }

    fn place(&self) -> String {
        format!("kubernetes:{}/{}", self.namespace, self.name)
    }
}
