//! How often this host looks at itself and how much of its logs it sends: as the accepted document
//! wants it, and otherwise as configured.
//! It keeps the last word while there is no document to be read.

use std::sync::Arc;

use hidps_wire::Desired;
use tokio::sync::watch;

use super::cadence::Cadence;
use super::line_sink::LineSink;
use crate::ledger::LedgerRecord;

/// Follows the accepted document until nobody writes one any more.
pub async fn follow_wishes(
    configured: Cadence,
    mut record: watch::Receiver<Option<Arc<LedgerRecord>>>,
    cadence: watch::Sender<Cadence>,
) {
    loop {
        let accepted = record.borrow_and_update().clone();
        if let Some(record) = accepted {
            let (desired, _) = Desired::from_document(&record.accepted.document);
            let wanted = configured.with(desired.collection);
            cadence.send_if_modified(|present| {
                let is_news = *present != wanted;
                if is_news {
                    tracing::info!(?wanted, "the host looks at itself at other intervals");
                    *present = wanted;
                }
                is_news
            });
        }
        if record.changed().await.is_err() {
            return;
        }
    }
}

/// Follows how many lines the accepted document wants until nobody writes one any more; before there
/// is one, every line goes out.
pub async fn follow_sampling(
    sink: Arc<LineSink>,
    mut record: watch::Receiver<Option<Arc<LedgerRecord>>>,
) {
    loop {
        let accepted = record.borrow_and_update().clone();
        if let Some(record) = accepted {
            let (desired, _) = Desired::from_document(&record.accepted.document);
            sink.sample(desired.collection.sampling.unwrap_or(1));
        }
        if record.changed().await.is_err() {
            return;
        }
    }
}
