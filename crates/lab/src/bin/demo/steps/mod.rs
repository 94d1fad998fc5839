//! The steps of the story in their order; one file per subject.
//! It never stops at a failure: the steps after it say what else is wrong.

mod alerts;
mod files;
mod firewall;
mod logins;
mod outages;

use crate::report::Report;
use crate::story::Story;

/// Tells the whole story.
pub(crate) async fn tell_all(story: &mut Story, report: &mut Report) {
    const FIREWALL: &str = "a row turns the host's firewall on, and only what should pass passes";
    const LOGIN: &str = "a failed ssh login becomes one normalized event at the viewer";
    const ALERTS: &str =
        "a changed key file and a login burst become one alert each, with a counter";
    const MAIL: &str = "the alert reaches owner and member as a readable mail";
    const QUESTION: &str = "the host's firewall rules are asked for and come back as data";
    const OUTAGES: &str =
        "daemon killed, agent killed, REST away: the host converges, alerts arrive once";

    let degraded = story.why_degraded();
    match &degraded {
        Some(why) => report.skip(FIREWALL, why),
        None => drop(report.step(FIREWALL, firewall::turn_on(story)).await),
    }
    report
        .step(
            "a row makes the host watch a file; each thing done to it is one event",
            files::watch(story),
        )
        .await;
    match &degraded {
        Some(why) => report.skip(LOGIN, why),
        None => drop(report.step(LOGIN, logins::stream(story)).await),
    }
    report
        .step(
            "others are refused, and no log line is stored anywhere",
            logins::keep_private(story),
        )
        .await;
    match &degraded {
        Some(why) => {
            for title in [ALERTS, MAIL, QUESTION, OUTAGES] {
                report.skip(title, why);
            }
        }
        None => {
            report.step(ALERTS, alerts::raise(story)).await;
            report.step(MAIL, alerts::mail(story)).await;
            report.step(QUESTION, firewall::ask(story)).await;
            report.step(OUTAGES, outages::survive(story)).await;
        }
    }
}
