//! What survives a reload of the wallet: IndexedDB, database `rillpay-wallet`, one record for each account. No secret.

use js_sys::Uint8Array;
use rillpay_wallet::{Code, Error as Refusal};
use wasm_bindgen::JsCast;

use super::idb::Database;
use crate::error::Result;

const WALLETS: &str = "wallets";

/// The records of all wallets.
pub struct Store {
    database: Database,
}

impl Store {
    /// Opens the database.
    ///
    /// # Errors
    /// [`crate::error::Problem::StorageBlocked`], [`crate::error::Problem::UnsupportedBrowser`].
    pub async fn open() -> Result<Self> {
        Ok(Self { database: Database::open("rillpay-wallet", &[WALLETS]).await? })
    }

    /// The record of an account; `None` where there is none.
    ///
    /// # Errors
    /// [`Code::CorruptedWallet`] for what is no bytes, and the errors of the browser.
    pub async fn load(&self, account: &str) -> Result<Option<Vec<u8>>> {
        let value = self.database.get(WALLETS, &account.into()).await?;
        if value.is_undefined() {
            return Ok(None);
        }
        let unreadable = Refusal::new(Code::CorruptedWallet, "what is stored for the wallet cannot be read");
        let bytes = value.dyn_into::<Uint8Array>().map_err(|_| unreadable)?;
        Ok(Some(bytes.to_vec()))
    }

    /// Stores the record of an account; returns when it is on the disk.
    ///
    /// # Errors
    /// [`crate::error::Problem::StorageFull`], [`crate::error::Problem::StorageBlocked`].
    pub async fn save(&self, account: &str, record: &[u8]) -> Result<()> {
        self.database.put_all(&[(WALLETS, account.into(), Uint8Array::from(record).into())]).await
    }
}
