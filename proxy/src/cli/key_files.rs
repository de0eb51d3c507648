//! How a command opens keys that are encrypted.

use std::path::PathBuf;

use crate::keys::KeyFiles;

/// What opens encrypted key files. Plain files and tokens need none of it.
#[derive(Debug, Default, clap::Args)]
pub(super) struct KeyFileArgs {
    /// File with the passphrase of the encrypted key files, one line
    #[arg(long, env = "CLYRA_KEY_PASSPHRASE_FILE", hide_env_values = true, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// age identity file (made by `age-keygen`) that opens the encrypted key files
    #[arg(long, env = "CLYRA_KEY_IDENTITY_FILE", hide_env_values = true, value_name = "FILE")]
    identity_file: Option<PathBuf>,
}

impl KeyFileArgs {
    pub(super) fn files(&self) -> KeyFiles {
        KeyFiles {
            passphrase: self.passphrase_file.clone(),
            identity: self.identity_file.clone(),
            recipients: Vec::new(),
        }
    }
}
