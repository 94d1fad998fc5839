//! Rows are delivered whatever order outages come in, and each claim is finished.

use std::collections::VecDeque;
use std::sync::Mutex;

use futures_util::future::BoxFuture;
use hidps_wire::AgentId;
use jiff::Timestamp;
use uuid::Uuid;

use super::*;
use crate::model::{Notice, NotifiedAlert};
use crate::ports::{StoreErrorKind, StoreResult};

/// Rows that wait, and what became of them.
#[derive(Default)]
struct FakeQueue {
    waiting: Mutex<VecDeque<Notification>>,
    outages: Mutex<u32>,
    finished: Mutex<Vec<(Uuid, DeliveryOutcome)>>,
}

impl NotificationQueue for Arc<FakeQueue> {
    fn claim(&self, max: u32, _: u32) -> StoreResult<'_, Vec<Notification>> {
        Box::pin(async move {
            let mut outages = self.outages.lock().expect("unpoisoned");
            if *outages > 0 {
                *outages -= 1;
                let kind = StoreErrorKind::Unavailable;
                return Err(StoreError {
                    operation: "test",
                    kind,
                    source: "scripted".into(),
                });
            }
            let mut waiting = self.waiting.lock().expect("unpoisoned");
            let count = waiting.len().min(max as usize);
            Ok(waiting.drain(..count).collect())
        })
    }

    fn finish(&self, id: Uuid, outcome: DeliveryOutcome) -> StoreResult<'_, ()> {
        Box::pin(async move {
            self.finished
                .lock()
                .expect("unpoisoned")
                .push((id, outcome));
            Ok(())
        })
    }
}

/// Takes every message.
struct RecordingMailer;

impl Mailer for RecordingMailer {
    fn deliver(&self, _: Notification) -> BoxFuture<'_, DeliveryOutcome> {
        Box::pin(async { DeliveryOutcome::Sent })
    }
}

fn notification(id: u128) -> Notification {
    Notification {
        id: Uuid::from_u128(id),
        recipient: "admin@acme.test".into(),
        attempts: 1,
        message_id: "<alert.1.2@hidps>".into(),
        notice: Notice::Alert(NotifiedAlert {
            id: Uuid::nil(),
            title: "t".into(),
            message: "m".into(),
            severity: 3,
            risk: 70,
            rule_id: "r".into(),
            occurrences: 1,
            first_seen: Timestamp::UNIX_EPOCH,
            last_seen: Timestamp::UNIX_EPOCH,
            evidence: Vec::new(),
            advice: None,
            is_storm: false,
            agent_id: AgentId::new(Uuid::nil()),
            agent_name: "web".into(),
            organization: String::new(),
        }),
    }
}

#[tokio::test(start_paused = true)]
async fn every_row_is_finished_once_even_after_an_outage() {
    let queue = Arc::new(FakeQueue::default());
    queue
        .waiting
        .lock()
        .expect("unpoisoned")
        .extend((1..=50).map(notification));
    *queue.outages.lock().expect("unpoisoned") = 2;
    let stop = CancellationToken::new();
    let notifier = Notifier {
        queue: Arc::clone(&queue),
        mailer: RecordingMailer,
        hint: Arc::default(),
    };

    tokio::join!(notifier.run(stop.clone()), async {
        sleep(LOOK_EVERY * 5).await;
        stop.cancel();
    });

    let mut finished: Vec<Uuid> = queue
        .finished
        .lock()
        .expect("unpoisoned")
        .iter()
        .map(|(id, _)| *id)
        .collect();
    finished.sort_unstable();
    assert_eq!(finished, (1..=50).map(Uuid::from_u128).collect::<Vec<_>>());
}
