//! PKCS#11 URIs (RFC 7512), as far as they name one key: `pkcs11:token=…;object=…;id=…?module-path=…&pin-source=file:…`.

use std::path::PathBuf;

use clyra_receipts::keys::AccessError;
use percent_encoding::percent_decode_str;

/// Longest URI that is read.
const BYTES_MAX: usize = 4096;

/// Which key, in which token, through which module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TokenUri {
    pub(super) module: PathBuf,
    /// File with the user's PIN; without it the token is asked for none.
    pub(super) pin_source: Option<PathBuf>,
    pub(super) token: Option<String>,
    pub(super) serial: Option<String>,
    pub(super) object: Option<String>,
    pub(super) id: Option<Vec<u8>>,
}

impl TokenUri {
    pub(super) fn parse(text: &str) -> Result<TokenUri, AccessError> {
        let wrong = |what: &str| AccessError(format!("not a PKCS#11 URI that names a key: {what}"));
        if text.len() > BYTES_MAX {
            return Err(wrong("it is too long"));
        }
        let rest = text.strip_prefix("pkcs11:").ok_or_else(|| wrong("it does not begin with pkcs11:"))?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (mut token, mut serial, mut object, mut id) = (None, None, None, None);
        let (mut module, mut pin_source) = (None, None);
        for (part, in_path) in
            path.split(';').map(|part| (part, true)).chain(query.split('&').map(|part| (part, false)))
        {
            if part.is_empty() {
                continue;
            }
            let (name, value) = part.split_once('=').ok_or_else(|| wrong("an attribute has no value"))?;
            let bytes: Vec<u8> = percent_decode_str(value).collect();
            let text = || String::from_utf8(bytes.clone()).map_err(|_| wrong("an attribute is not UTF-8"));
            match (name, in_path) {
                ("token", true) => token = Some(text()?),
                ("serial", true) => serial = Some(text()?),
                ("object", true) => object = Some(text()?),
                ("id", true) => id = Some(bytes),
                // Whatever else narrows the choice is not needed to find one key.
                ("type" | "manufacturer" | "model", true) => {}
                ("module-path", false) => module = Some(PathBuf::from(text()?)),
                ("pin-source", false) => {
                    let source = text()?;
                    pin_source = Some(PathBuf::from(source.strip_prefix("file:").unwrap_or(&source)));
                }
                ("pin-value", false) => {
                    return Err(wrong("a PIN does not belong into it; write pin-source=file:PATH"));
                }
                _ => return Err(AccessError(format!("PKCS#11 URI: attribute {name} is not known"))),
            }
        }
        if object.is_none() && id.is_none() {
            return Err(wrong("it needs object= or id="));
        }
        let module = module.ok_or_else(|| wrong("it needs ?module-path="))?;
        Ok(TokenUri { module, pin_source, token, serial, object, id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_key_is_named() {
        let uri = "pkcs11:token=My%20token;object=log;id=%01%ff;type=private?module-path=/usr/lib/x.so&pin-source=file:/run/pin";
        let parsed = TokenUri::parse(uri).unwrap();
        assert_eq!(parsed.token.as_deref(), Some("My token"));
        assert_eq!(parsed.id.as_deref(), Some([1, 255].as_slice()));
        assert_eq!(parsed.module, PathBuf::from("/usr/lib/x.so"));
        assert_eq!(parsed.pin_source, Some(PathBuf::from("/run/pin")));
    }

    #[test]
    fn what_is_not_one_key_is_refused() {
        for (uri, what) in [
            ("file:x", "begin with"),
            ("pkcs11:token=t?module-path=/x", "object= or id="),
            ("pkcs11:object=o", "module-path"),
            ("pkcs11:object=o?module-path=/x&pin-value=1234", "pin-source"),
            ("pkcs11:object", "no value"),
            ("pkcs11:object=%ff?module-path=/x", "UTF-8"),
            ("pkcs11:object=o;slot-id=1?module-path=/x", "slot-id"),
        ] {
            let error = TokenUri::parse(uri).unwrap_err().to_string();
            assert!(error.contains(what), "{uri}: {error}");
            assert!(!error.contains("1234"));
        }
    }
}
