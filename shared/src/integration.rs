//! A project's PostHog settings as Langfuse stores them: the host, and the API key, encrypted with
//! Langfuse's key.

use aes_gcm::aead::consts::U16;
use aes_gcm::aead::{Aead, KeyInit};
use aes_gcm::aes::Aes256;
use aes_gcm::{AesGcm, Nonce};
use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use sqlx::{PgExecutor, PgPool};
use url::Url;
use zeroize::Zeroizing;

use crate::error_code::ErrorCode;
use crate::ingestion::ingestion_url;
use crate::settings::variables::ENCRYPTION_KEY;
use crate::settings::{ExposeSecret, SecretString, Settings};

/// Langfuse uses a 16-byte nonce where 12 are usual.
type LangfuseCipher = AesGcm<Aes256, U16>;

/// Where a project's events go.
#[derive(Clone, Debug)]
pub struct Integration {
    /// The ingestion host, without a trailing slash
    pub host: Url,
    /// The project API key (`phc_…`)
    pub api_key: SecretString,
}

impl Integration {
    /// Host and a fingerprint of the key. The ledger compares it to notice that a project's events
    /// now go elsewhere.
    pub fn target(&self) -> String {
        let digest = Sha256::digest(self.api_key.expose_secret().as_bytes());
        format!(
            "{} {}",
            self.host.as_str().trim_end_matches('/'),
            hex::encode(&digest[..6])
        )
    }
}

/// Why a project's events cannot go anywhere.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum IntegrationFault {
    /// No such row in `projects`
    #[error("there is no project `{0}` in Langfuse's database")]
    UnknownProject(String),
    /// No row in `posthog_integrations`
    #[error("the project has no PostHog integration")]
    Missing,
    /// `enabled` is false
    #[error("the project's PostHog integration is disabled")]
    Disabled,
    /// No job of it is exported until its settings change or a person resumes it
    #[error("the project is paused: {0}")]
    Paused(String),
    /// The key cannot be decrypted
    #[error("the project's API key cannot be decrypted: {0}")]
    Undecryptable(CipherError),
    /// The key cannot be PostHog's
    #[error("the project's API key cannot be used: {0}")]
    BadKey(&'static str),
    /// The host is not a URL
    #[error("the project's PostHog host is not usable: {0}")]
    BadHost(String),
}

impl IntegrationFault {
    /// Its stable word.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::UnknownProject(_) => ErrorCode::UnknownProject,
            Self::Missing => ErrorCode::NoIntegration,
            Self::Disabled => ErrorCode::IntegrationDisabled,
            Self::Paused(_) => ErrorCode::ProjectPaused,
            Self::Undecryptable(_) => ErrorCode::KeyUndecryptable,
            Self::BadKey(_) => ErrorCode::Unauthorized,
            Self::BadHost(_) => ErrorCode::BadHost,
        }
    }
}

/// Langfuse's `ENCRYPTION_KEY`.
#[derive(Clone)]
pub struct EncryptionKey(LangfuseCipher);

/// What is wrong with a key or a ciphertext. It never holds a part of either.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum CipherError {
    /// Not 64 hex digits
    #[error("ENCRYPTION_KEY must be the 64 hex digits that Langfuse has under the same name")]
    BadKey,
    /// Not `iv:ciphertext:tag`
    #[error("the stored value does not have the form iv:ciphertext:tag in hex")]
    BadFormat,
    /// Another key, or a changed value
    #[error("it was encrypted with another ENCRYPTION_KEY, or was altered")]
    WrongKey,
}

impl EncryptionKey {
    /// Reads `ENCRYPTION_KEY`. When this is `None`, reading the settings ends with an error.
    pub fn read(settings: &mut Settings) -> Option<Self> {
        let digits = settings.secret(&ENCRYPTION_KEY);
        match Self::from_hex(&digits) {
            Ok(key) => Some(key),
            // `secret` has added the error.
            Err(_) if digits.expose_secret().is_empty() => None,
            Err(error) => {
                settings.complain(error.to_string());
                None
            }
        }
    }

    /// Reads 64 hex digits.
    pub fn from_hex(digits: &SecretString) -> Result<Self, CipherError> {
        let bytes = hex::decode(digits.expose_secret().trim()).map_err(|_| CipherError::BadKey)?;
        let bytes = Zeroizing::new(bytes);
        LangfuseCipher::new_from_slice(&bytes)
            .map(Self)
            .map_err(|_| CipherError::BadKey)
    }

    /// Encrypts to `iv:ciphertext:tag`, each in hex.
    pub fn encrypt(&self, plain: &SecretString) -> Result<String, CipherError> {
        let iv: [u8; 16] = rand::random();
        let sealed = self
            .0
            .encrypt(&Nonce::<U16>::from(iv), plain.expose_secret().as_bytes())
            .map_err(|_| CipherError::BadFormat)?;
        let (ciphertext, tag) = sealed.split_at(sealed.len().saturating_sub(16));
        Ok(format!(
            "{}:{}:{}",
            hex::encode(iv),
            hex::encode(ciphertext),
            hex::encode(tag)
        ))
    }

    /// Decrypts what [`EncryptionKey::encrypt`] or Langfuse has encrypted.
    pub fn decrypt(&self, stored: &str) -> Result<SecretString, CipherError> {
        let parts: Vec<Vec<u8>> = stored
            .trim()
            .split(':')
            .map(hex::decode)
            .collect::<Result<_, _>>()
            .map_err(|_| CipherError::BadFormat)?;
        let [iv, ciphertext, tag] = parts.as_slice() else {
            return Err(CipherError::BadFormat);
        };
        let iv = <[u8; 16]>::try_from(iv.as_slice()).map_err(|_| CipherError::BadFormat)?;
        if tag.len() != 16 {
            return Err(CipherError::BadFormat);
        }
        let sealed = [ciphertext.as_slice(), tag.as_slice()].concat();
        let plain = self
            .0
            .decrypt(&Nonce::<U16>::from(iv), sealed.as_slice())
            .map_err(|_| CipherError::WrongKey)?;
        // Copied and then erased: converting it in place could leave a part of it in memory.
        let plain = Zeroizing::new(plain);
        std::str::from_utf8(&plain)
            .map(SecretString::from)
            .map_err(|_| CipherError::WrongKey)
    }
}

/// A row of `posthog_integrations`, not decrypted.
#[derive(Clone, sqlx::FromRow)]
pub struct StoredIntegration {
    /// Langfuse's `projects.id`
    pub project_id: String,
    /// Langfuse's `projects.name`
    pub project_name: String,
    /// `iv:ciphertext:tag`
    pub encrypted_api_key: String,
    /// As a person typed it
    pub host: String,
    /// Whether Langfuse's settings page has it switched on
    pub enabled: bool,
}

impl StoredIntegration {
    /// A fingerprint of the settings as they are stored; no key is needed for it. When it differs,
    /// somebody has saved the settings again.
    pub fn fingerprint(&self) -> String {
        let digest = Sha256::digest(format!("{}\n{}", self.host, self.encrypted_api_key));
        hex::encode(&digest[..8])
    }

    /// Decrypts the key and checks the host, whether the integration is enabled or not.
    pub fn open(&self, key: &EncryptionKey) -> Result<Integration, IntegrationFault> {
        let api_key = key
            .decrypt(&self.encrypted_api_key)
            .map_err(IntegrationFault::Undecryptable)?;
        // As PostHog's own SDKs do.
        let api_key = SecretString::from(api_key.expose_secret().trim_matches(is_blank));
        if api_key.expose_secret().is_empty() {
            return Err(IntegrationFault::BadKey(
                "it is empty; save the project API key (phc_…) of PostHog's project settings",
            ));
        }
        if api_key.expose_secret().starts_with("phx_") {
            return Err(IntegrationFault::BadKey(
                "it is a personal API key (phx_…), which cannot send events; save the project API key (phc_…) of PostHog's project settings",
            ));
        }
        let host = ingestion_url(&self.host).map_err(IntegrationFault::BadHost)?;
        Ok(Integration { host, api_key })
    }
}

/// What JavaScript's `trim` takes away: white space, and a byte order mark.
fn is_blank(character: char) -> bool {
    character.is_whitespace() || character == '\u{feff}'
}

/// What is known of where a project's events go.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// [`StoredIntegration::fingerprint`]; `None` when nothing is stored
    pub settings: Option<String>,
    /// `projects.name`; `None` when nothing is stored
    pub project_name: Option<String>,
    /// Until when the database has all rows, when it is a replica
    pub visible_until: Option<DateTime<Utc>>,
    /// The decrypted settings, or why they cannot be used
    pub integration: Result<Integration, IntegrationFault>,
}

/// A project's name, what is stored of its integration, if it has one, and
/// [`Loaded::visible_until`].
type Found = (
    String,
    Option<String>,
    Option<String>,
    Option<bool>,
    Option<DateTime<Utc>>,
);

/// Reads a project's integration. The outer error is the database's; a fault of the project is in
/// [`Loaded::integration`].
pub async fn load(source: impl PgExecutor<'_>, key: &EncryptionKey, project_id: &str) -> Result<Loaded, sqlx::Error> {
    let without = |fault| Loaded {
        settings: None,
        project_name: None,
        visible_until: None,
        integration: Err(fault),
    };
    // By the ids alone, so that it stays two steps in two indexes however many projects there are.
    let found: Option<Found> = sqlx::query_as(
        "-- integration_load
         select coalesce(p.name, ''), i.encrypted_posthog_api_key, i.posthog_host_name, i.enabled,
                case when pg_is_in_recovery()
                     -- A replica that has replayed nothing since its start does not say how old it is.
                     then coalesce(pg_last_xact_replay_timestamp(), pg_postmaster_start_time() - interval '1 day') end
         from projects p left join posthog_integrations i on i.project_id = p.id where p.id = $1",
    )
    .bind(project_id)
    .fetch_optional(source)
    .await?;
    let Some((project_name, encrypted_api_key, host, enabled, visible_until)) = found else {
        return Ok(without(IntegrationFault::UnknownProject(project_id.to_owned())));
    };
    let (Some(encrypted_api_key), Some(host), Some(enabled)) = (encrypted_api_key, host, enabled) else {
        return Ok(without(IntegrationFault::Missing));
    };
    let stored = StoredIntegration {
        project_id: project_id.to_owned(),
        project_name,
        encrypted_api_key,
        host,
        enabled,
    };
    Ok(Loaded {
        settings: Some(stored.fingerprint()),
        project_name: Some(stored.project_name.clone()),
        visible_until,
        integration: if stored.enabled {
            stored.open(key)
        } else {
            Err(IntegrationFault::Disabled)
        },
    })
}

/// All integrations, or one project's, by project.
pub async fn list(source: &PgPool, project_id: Option<&str>) -> Result<Vec<StoredIntegration>, sqlx::Error> {
    sqlx::query_as(
        "-- integration_list
         select i.project_id, coalesce(p.name, '') as project_name, i.encrypted_posthog_api_key as encrypted_api_key,
                i.posthog_host_name as host, i.enabled
         from posthog_integrations i join projects p on p.id = i.project_id
         where $1::text is null or i.project_id = $1 order by i.project_id",
    )
    .bind(project_id)
    .fetch_all(source)
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    fn key() -> EncryptionKey {
        EncryptionKey::from_hex(&KEY.into()).unwrap()
    }

    /// Made by Node's `createCipheriv('aes-256-gcm', key, iv)`, which is what Langfuse calls.
    #[test]
    fn reads_what_langfuse_writes() {
        let stored = include_str!("integration/langfuse.txt").trim();
        assert_eq!(
            key().decrypt(stored).unwrap().expose_secret(),
            "phc_abcdefghijklmnopqrstuvwxyz"
        );
    }

    #[test]
    fn faults_are_told_apart() {
        let other = EncryptionKey::from_hex(&KEY.replace('0', "f").into()).unwrap();
        let stored = key().encrypt(&"phc_1".into()).unwrap();
        assert_eq!(other.decrypt(&stored).unwrap_err(), CipherError::WrongKey);
        for bad in ["", "enc", "00:11", "zz:00:00", "00:11:22", &format!("{stored}:00")] {
            assert_eq!(key().decrypt(bad).unwrap_err(), CipherError::BadFormat, "{bad}");
        }
        assert!(EncryptionKey::from_hex(&"abc".into()).is_err());
        assert!(EncryptionKey::from_hex(&"00".into()).is_err());
    }

    #[test]
    fn a_stored_key_is_trimmed_and_what_cannot_be_a_key_says_so() {
        let open = |api_key: &str| {
            let stored = StoredIntegration {
                project_id: "p".to_owned(),
                project_name: "p".to_owned(),
                encrypted_api_key: key().encrypt(&api_key.into()).unwrap(),
                host: "https://eu.posthog.com".to_owned(),
                enabled: true,
            };
            stored.open(&key())
        };
        for good in ["phc_1", " phc_1", "phc_1\n", "\u{feff}phc_1\u{a0}\r\n"] {
            assert_eq!(open(good).unwrap().api_key.expose_secret(), "phc_1", "{good:?}");
        }
        for (bad, said) in [
            ("", "is empty"),
            (" \n", "is empty"),
            (" phx_hunter2", "personal API key"),
        ] {
            let fault = open(bad).unwrap_err();
            assert_eq!(fault.code(), ErrorCode::Unauthorized);
            let text = fault.to_string();
            assert!(text.contains(said) && !text.contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn a_target_names_the_host_and_hides_the_key() {
        let integration = Integration {
            host: "https://eu.i.posthog.com".parse().unwrap(),
            api_key: "phc_secret".into(),
        };
        assert!(integration.target().starts_with("https://eu.i.posthog.com "));
        assert!(!format!("{integration:?} {}", integration.target()).contains("phc_secret"));
    }

    proptest! {
        #[test]
        fn decrypt_undoes_encrypt(plain in ".{0,80}") {
            let stored = key().encrypt(&plain.clone().into()).unwrap();
            let read = key().decrypt(&stored).unwrap();
            prop_assert_eq!(read.expose_secret(), plain.as_str());
        }

        #[test]
        fn decrypt_never_panics(stored in "[0-9a-f:é]{0,120}") {
            let _ = key().decrypt(&stored);
        }

        /// The right form with any bytes: only what was sealed with the key opens.
        #[test]
        fn what_was_not_sealed_with_the_key_does_not_open(
            iv in proptest::collection::vec(any::<u8>(), 0..20), text in proptest::collection::vec(any::<u8>(), 0..60),
            tag in proptest::collection::vec(any::<u8>(), 0..20),
        ) {
            let stored = format!("{}:{}:{}", hex::encode(iv), hex::encode(text), hex::encode(tag));
            prop_assert!(key().decrypt(&stored).is_err());
        }

        #[test]
        fn one_changed_digit_is_noticed(plain in ".{0,40}", place in any::<prop::sample::Index>()) {
            let mut stored = key().encrypt(&plain.into()).unwrap().into_bytes();
            let digits: Vec<usize> = (0..stored.len()).filter(|place| stored[*place] != b':').collect();
            let changed = &mut stored[*place.get(&digits)];
            *changed = if *changed == b'0' { b'1' } else { b'0' };
            prop_assert_eq!(key().decrypt(std::str::from_utf8(&stored).unwrap()).unwrap_err(), CipherError::WrongKey);
        }

        #[test]
        fn any_key_is_read_or_refused(digits in ".{0,70}|[0-9a-fA-F]{60,66}") {
            let _ = EncryptionKey::from_hex(&digits.into());
        }
    }
}
