//! The secret that the hosts of a fleet share, as the plane has it from its state directory.

use meridian_model::fleet_secret;
use meridian_sys::process::random_bytes;
use std::io::ErrorKind;
use std::path::Path;
use zeroize::Zeroizing;

/// The secret in the state directory `state`, or one of this process alone where there is none: `up`
/// makes one, so somebody started this plane apart.
///
/// # Errors
/// In words, when the secret can not be read or is none.
pub(crate) fn read(state: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let path = state.join(fleet_secret::FILE);
    let fault = |what: String| format!("{}: {what}", path.display());
    match std::fs::read(&path).map(Zeroizing::new) {
        Ok(bytes) => {
            let secret = fleet_secret::of_file(&bytes).map_err(fault)?;
            Ok(Zeroizing::new(secret.to_vec()))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let random = random_bytes::<32>();
            let random = random.map_err(|error| format!("asking for random bytes: {error}"))?;
            Ok(Zeroizing::new(random.to_vec()))
        }
        Err(error) => Err(fault(error.to_string())),
    }
}
