//! A Langfuse v2 database as the export meets it: the tables, a project, its PostHog integration,
//! and the cipher its API key is stored in.

use aes_gcm::aead::consts::U16;
use aes_gcm::aead::{Aead, KeyInit};
use aes_gcm::{AesGcm, aes::Aes256};
use rand::RngCore;
use sqlx::PgPool;

/// The DDL of every table the service reads, in schema `public`. Run it once on an empty database.
pub const SCHEMA_SQL: &str = include_str!("langfuse.sql");

/// What Langfuse's environment variable `ENCRYPTION_KEY` holds in the tests: 64 hex digits.
pub const ENCRYPTION_KEY: &str = "7d5b1f0c9e8a463725f1e0d3c2b4a5968778695a4b3c2d1e0f1a2b3c4d5e6f70";

/// The one organization that every test project belongs to.
const ORGANIZATION: &str = "testkit-organization";

/// AES-256-GCM with the 16-byte initialisation vector that Langfuse uses (12 is what everyone else
/// uses).
type Cipher = AesGcm<Aes256, U16>;

/// Bytes of the authentication tag, which Langfuse stores as a part of its own.
const TAG_BYTES: usize = 16;

/// Encrypts as Langfuse's settings page does: `iv:ciphertext:tag`, each in hex, with a random IV.
///
/// # Panics
/// When `key_hex` is not 64 hex digits.
pub fn encrypt(key_hex: &str, plaintext: &str) -> String {
    let mut iv = [0_u8; 16];
    rand::rng().fill_bytes(&mut iv);
    encrypt_with_iv(key_hex, plaintext, iv)
}

/// [`encrypt`] with an IV of the caller's choice, for fixed test vectors.
///
/// # Panics
/// When `key_hex` is not 64 hex digits.
pub fn encrypt_with_iv(key_hex: &str, plaintext: &str, iv: [u8; 16]) -> String {
    let sealed = cipher(key_hex)
        .encrypt(&iv.into(), plaintext.as_bytes())
        .expect("AES-GCM encrypts a short text");
    let (ciphertext, tag) = sealed.split_at(sealed.len() - TAG_BYTES);
    format!("{}:{}:{}", hex::encode(iv), hex::encode(ciphertext), hex::encode(tag))
}

/// The plaintext of what [`encrypt`] or Langfuse itself made; `None` when it was made with another
/// key or is damaged.
///
/// # Panics
/// When `key_hex` is not 64 hex digits.
pub fn decrypt(key_hex: &str, stored: &str) -> Option<String> {
    let parts: Vec<Vec<u8>> = stored.split(':').map(hex::decode).collect::<Result<_, _>>().ok()?;
    let [iv, ciphertext, tag] = parts.as_slice() else {
        return None;
    };
    let iv: [u8; 16] = iv.as_slice().try_into().ok()?;
    let sealed = [ciphertext.as_slice(), tag.as_slice()].concat();
    let plain = cipher(key_hex).decrypt(&iv.into(), sealed.as_slice()).ok()?;
    String::from_utf8(plain).ok()
}

/// Adds a project, or renames it when it is already there.
///
/// # Panics
/// When the database refuses it.
pub async fn add_project(pool: &PgPool, id: &str, name: &str) {
    sqlx::query("INSERT INTO organizations (id, name) VALUES ($1, $1) ON CONFLICT DO NOTHING")
        .bind(ORGANIZATION)
        .execute(pool)
        .await
        .expect("the organization can be added");
    sqlx::query(
        "INSERT INTO projects (id, name, org_id, created_at) VALUES ($1, $2, $3, now() AT TIME ZONE 'UTC')
         ON CONFLICT (id) DO UPDATE SET name = excluded.name",
    )
    .bind(id)
    .bind(name)
    .bind(ORGANIZATION)
    .execute(pool)
    .await
    .expect("the project can be added");
}

/// Gives a project its PostHog integration, the key encrypted under [`ENCRYPTION_KEY`]; replaces
/// the one it had.
///
/// # Panics
/// When the database refuses it.
pub async fn add_integration(pool: &PgPool, project: &str, host: &str, api_key: &str, enabled: bool) {
    add_integration_as_stored(pool, project, host, &encrypt(ENCRYPTION_KEY, api_key), enabled).await;
}

/// [`add_integration`] with the key column given as it is stored: for keys that cannot be
/// decrypted.
///
/// # Panics
/// When the database refuses it.
pub async fn add_integration_as_stored(pool: &PgPool, project: &str, host: &str, encrypted_key: &str, enabled: bool) {
    sqlx::query(
        "INSERT INTO posthog_integrations (project_id, encrypted_posthog_api_key, posthog_host_name, enabled, created_at)
         VALUES ($1, $2, $3, $4, now() AT TIME ZONE 'UTC')
         ON CONFLICT (project_id) DO UPDATE SET encrypted_posthog_api_key = excluded.encrypted_posthog_api_key,
             posthog_host_name = excluded.posthog_host_name, enabled = excluded.enabled",
    )
    .bind(project)
    .bind(encrypted_key)
    .bind(host)
    .bind(enabled)
    .execute(pool)
    .await
    .expect("the integration can be added");
}

fn cipher(key_hex: &str) -> Cipher {
    let key: [u8; 32] = hex::decode(key_hex)
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .expect("the encryption key is 64 hex digits");
    Cipher::new(&key.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encrypted_can_be_read_again_and_only_with_its_key() {
        let stored = encrypt(ENCRYPTION_KEY, "phc_secret");
        assert_eq!(stored.split(':').map(str::len).collect::<Vec<_>>(), [32, 20, 32]);
        assert_eq!(decrypt(ENCRYPTION_KEY, &stored).as_deref(), Some("phc_secret"));
        assert_eq!(decrypt(&"00".repeat(32), &stored), None);
        assert_eq!(decrypt(ENCRYPTION_KEY, "no colons"), None);
    }

    #[test]
    fn it_is_the_cipher_of_node() {
        // crypto.createCipheriv("aes-256-gcm", key, iv), the way Langfuse calls it.
        let stored = "000102030405060708090a0b0c0d0e0f:c01b037ead9aa6b3fed5:4000529a27345b98591954b135ed48a9";
        let iv = std::array::from_fn(|at| u8::try_from(at).unwrap());
        assert_eq!(encrypt_with_iv(ENCRYPTION_KEY, "phc_secret", iv), stored);
        assert_eq!(decrypt(ENCRYPTION_KEY, stored).as_deref(), Some("phc_secret"));
    }
}
