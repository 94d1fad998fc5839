//! Floods, false acknowledgements, and bytes that come as slowly as can be.

use std::time::{Duration, Instant};

use hidps_wire::{DaemonFrame, Question};
use tokio_tungstenite::tungstenite::{Bytes, Message};
use uuid::Uuid;

use super::Victim;
use crate::harness::document;

/// Far more of each than the agent holds.
const FLOOD: u64 = 5_000;

#[test]
fn a_flood_of_documents_and_questions_costs_no_memory_and_few_lines() {
    let mut victim = Victim::greet();
    let path = victim.home.path().to_owned();

    for number in 0..FLOOD {
        let connection = &mut victim.connection;
        connection.apply(number + 1, "h", document(None, &[&path]));
        connection.send(&DaemonFrame::Ask {
            id: Uuid::from_u128(u128::from(number)),
            question: Question::FirewallStatus,
        });
        connection.drain();
    }
    victim.says("came too fast");
    victim.obeys_in_the_end(FLOOD + 1);

    let log = victim.agent.log();
    let n_lines = log.matches("came too fast").count();
    assert!(n_lines < 64, "{n_lines} lines of the same");
}

#[test]
fn acknowledgements_of_nothing_give_no_credit_and_a_flood_of_pings_is_survived() {
    let mut victim = Victim::greet();

    for _ in 0..FLOOD {
        let connection = &mut victim.connection;
        connection.send(&DaemonFrame::Ack {
            seq: 0,
            credit: u32::MAX,
        });
        connection.send_raw(Message::Ping(Bytes::from_static(&[7; 125])));
        connection.drain();
    }
    for seq in [1_000_000, u64::MAX - 1, u64::MAX] {
        victim.connection.send(&DaemonFrame::Ack {
            seq,
            credit: u32::MAX,
        });
    }

    victim.says("an acknowledgement of a batch that was never sent");
    victim.still_obeys(1);
}

#[test]
fn a_frame_that_comes_byte_by_byte_does_not_keep_a_link_alive() {
    let mut victim = Victim::greet_with_heartbeat(1);
    let begun = Instant::now();

    // The beginning of a frame of 126 bytes, of which one comes every 100 ms.
    victim.connection.try_send_bytes(&[0x81, 126, 0, 126]);
    while begun.elapsed() < Duration::from_secs(30) {
        let is_given_up = !victim.connection.try_send_bytes(b" ");
        if is_given_up || victim.agent.log().contains("sent nothing for 3 s") {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }

    victim.says("sent nothing for 3 s");
    victim.comes_back();
}

#[test]
fn words_of_a_goodbye_cannot_forge_a_line_or_move_a_cursor() {
    let mut victim = Victim::greet();

    victim.connection.send_raw(Message::text(
        r#"{"type":"goodbye","reason":"\u001b[31mgone\n2026 ERROR forged","retry_ms":1}"#,
    ));

    victim.says("the daemon said goodbye");
    victim.comes_back();
    let log = victim.agent.log();
    assert!(
        !log.contains('\u{1b}') && !log.contains("\n2026 ERROR"),
        "{log}"
    );
}
