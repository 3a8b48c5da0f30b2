//! Whether a project's PostHog settings can be used: can the key be decrypted, may the host be called, does it know the key?

use shared::egress::Egress;
use shared::error_code::ErrorCode;
use shared::integration::{EncryptionKey, IntegrationFault, StoredIntegration};
use shared::posthog::{KeyCheck, Posthog};

/// What keeps an integration from being used, as far as it shows without asking the host.
pub(crate) fn problem(stored: &StoredIntegration, key: &EncryptionKey, egress: &Egress) -> Option<(ErrorCode, String)> {
    let opened = match stored.open(key) {
        Ok(opened) => opened,
        Err(fault) => return Some((IntegrationFault::code(&fault), fault.to_string())),
    };
    let refused = egress.check_url(&opened.host).err()?;
    Some((ErrorCode::HostNotAllowed, refused.to_string()))
}

pub(crate) async fn ask(
    posthog: &Posthog,
    stored: &StoredIntegration,
    key: &EncryptionKey,
    egress: &Egress,
) -> (&'static str, Option<String>) {
    if let Some((code, text)) = problem(stored, key, egress) {
        return (code.as_str(), Some(text));
    }
    let opened = match stored.open(key) {
        Ok(opened) => opened,
        Err(fault) => return (fault.code().as_str(), Some(fault.to_string())),
    };
    match posthog.knows_key(&opened).await {
        Ok(KeyCheck::Known) => ("known", None),
        Ok(KeyCheck::Unknown) => ("refused", Some(ErrorCode::Unauthorized.advice().to_owned())),
        Ok(KeyCheck::CannotTell(why)) => ("cannot_tell", Some(why)),
        Err(refused) => (ErrorCode::HostNotAllowed.as_str(), Some(refused.to_string())),
    }
}
