//! Keys in PKCS#11 tokens (OASIS PKCS #11 3.x, mechanism `CKM_EDDSA`): hardware modules, cloud HSMs, SoftHSM.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use clyra_receipts::keys::{AccessError, Signer};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;

use super::secret_line;
use super::uri::TokenUri;

/// Modules are initialised once in a process, whoever asks.
static MODULES: Mutex<Option<HashMap<PathBuf, Pkcs11>>> = Mutex::new(None);

/// Keys that were opened, by their URI.
#[derive(Default)]
pub(super) struct Tokens(Mutex<HashMap<String, Arc<TokenKey>>>);

impl std::fmt::Debug for Tokens {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Tokens")
    }
}

/// A private key that stays in its token.
struct TokenKey {
    /// A session does one thing at a time.
    session: Mutex<Session>,
    key: ObjectHandle,
    public: [u8; 32],
}

/// A handle for one owner.
struct Shared(Arc<TokenKey>);

fn failed(what: &str) -> impl FnOnce(cryptoki::error::Error) -> AccessError {
    move |error| AccessError(format!("the token {what}: {error}"))
}

impl Tokens {
    pub(super) fn open(&self, uri: &str) -> Result<Box<dyn Signer>, AccessError> {
        let mut opened = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = opened.get(uri) {
            return Ok(Box::new(Shared(Arc::clone(key))));
        }
        let key = Arc::new(TokenKey::open(&TokenUri::parse(uri)?)?);
        opened.insert(uri.to_owned(), Arc::clone(&key));
        Ok(Box::new(Shared(key)))
    }
}

impl TokenKey {
    fn open(uri: &TokenUri) -> Result<TokenKey, AccessError> {
        let module = module(&uri.module)?;
        let slot = slot(&module, uri)?;
        let session = module.open_ro_session(slot).map_err(failed("gives no session"))?;
        if let Some(path) = &uri.pin_source {
            let pin = AuthPin::new(secret_line(path)?.as_str().into());
            match session.login(UserType::User, Some(&pin)) {
                // Login is for all sessions of a process with the token.
                Ok(()) | Err(cryptoki::error::Error::Pkcs11(cryptoki::error::RvError::UserAlreadyLoggedIn, _)) => {}
                Err(error) => return Err(failed("refuses the login")(error)),
            }
        }
        let key = one(&session, ObjectClass::PRIVATE_KEY, uri)?;
        let public = one(&session, ObjectClass::PUBLIC_KEY, uri)?;
        let attributes = session
            .get_attributes(public, &[AttributeType::EcPoint])
            .map_err(failed("does not show the public key"))?;
        let public = attributes.iter().find_map(|attribute| match attribute {
            Attribute::EcPoint(point) => point_bytes(point),
            _ => None,
        });
        let public = public.ok_or_else(|| AccessError("the token's public key is not an Ed25519 key".to_owned()))?;
        Ok(TokenKey { session: Mutex::new(session), key, public })
    }
}

/// The point as PKCS#11 2.40 wraps it (a DER OCTET STRING) or as 3.0 has it (bare).
fn point_bytes(point: &[u8]) -> Option<[u8; 32]> {
    let bare = point.strip_prefix(&[0x04, 0x20]).filter(|bare| bare.len() == 32).unwrap_or(point);
    bare.try_into().ok()
}

fn module(path: &PathBuf) -> Result<Pkcs11, AccessError> {
    let mut modules = MODULES.lock().unwrap_or_else(PoisonError::into_inner);
    let modules = modules.get_or_insert_with(HashMap::new);
    if let Some(module) = modules.get(path) {
        return Ok(module.clone());
    }
    let load = |error: cryptoki::error::Error| AccessError(format!("module {}: {error}", path.display()));
    let module = Pkcs11::new(path).map_err(load)?;
    module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).map_err(load)?;
    modules.insert(path.clone(), module.clone());
    Ok(module)
}

fn slot(module: &Pkcs11, uri: &TokenUri) -> Result<Slot, AccessError> {
    let slots = module.get_slots_with_initialized_token().map_err(failed("module lists no slots"))?;
    for slot in slots {
        let info = module.get_token_info(slot).map_err(failed("says nothing of itself"))?;
        let is = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|wanted| wanted == found.trim_end());
        if is(&uri.token, info.label()) && is(&uri.serial, info.serial_number()) {
            return Ok(slot);
        }
    }
    Err(AccessError("the module has no token of that name".to_owned()))
}

/// The one object of this class that the URI names.
fn one(session: &Session, class: ObjectClass, uri: &TokenUri) -> Result<ObjectHandle, AccessError> {
    let mut wanted = vec![Attribute::Class(class)];
    wanted.extend(uri.object.as_ref().map(|label| Attribute::Label(label.as_bytes().to_vec())));
    wanted.extend(uri.id.as_ref().map(|id| Attribute::Id(id.clone())));
    let found = session.find_objects(&wanted).map_err(failed("cannot be searched"))?;
    match found.as_slice() {
        [one] => Ok(*one),
        [] => Err(AccessError("the token has no such key, or shows it only after a login (pin-source=)".to_owned())),
        _ => Err(AccessError("the token has several keys of that name; add id= to the URI".to_owned())),
    }
}

impl Signer for Shared {
    fn public(&self) -> [u8; 32] {
        self.0.public
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], AccessError> {
        let session = self.0.session.lock().unwrap_or_else(PoisonError::into_inner);
        let mechanism = Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Ed25519));
        let signature = session.sign(&mechanism, self.0.key, message).map_err(failed("did not sign"))?;
        signature.try_into().map_err(|_| AccessError("the token's signature is not of 64 bytes".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_read_bare_and_wrapped() {
        let bare = [7; 32];
        let wrapped = [[4, 32].as_slice(), &bare].concat();
        assert_eq!((point_bytes(&bare), point_bytes(&wrapped)), (Some(bare), Some(bare)));
        assert_eq!(point_bytes(&[7; 33]), None);
    }
}
