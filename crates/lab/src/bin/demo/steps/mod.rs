//! The steps of the story in their order; one file per subject.
//! It never stops at a failure: the steps after it say what else is wrong.

mod alerts;
mod files;
mod firewall;
mod logins;
mod outages;

use anyhow::Result;
use futures_util::future::LocalBoxFuture;

use crate::report::{Observed, Report};
use crate::story::Story;

/// What tells a step.
type Tell = for<'a> fn(&'a mut Story) -> LocalBoxFuture<'a, Result<Observed>>;

struct Step {
    title: &'static str,
    /// Whether it takes a host with a namespace of its own.
    takes_host: bool,
    tell: Tell,
}

const STEPS: [Step; 8] = [
    Step {
        title: "a row turns the host's firewall on, and only what should pass passes",
        takes_host: true,
        tell: |story| Box::pin(firewall::turn_on(story)),
    },
    Step {
        title: "a row makes the host watch a file; each thing done to it is one event",
        takes_host: false,
        tell: |story| Box::pin(files::watch(story)),
    },
    Step {
        title: "a failed ssh login becomes one normalized event at the viewer",
        takes_host: false,
        tell: |story| Box::pin(logins::stream(story)),
    },
    Step {
        title: "others are refused, and no log line is stored anywhere",
        takes_host: false,
        tell: |story| Box::pin(logins::keep_private(story)),
    },
    Step {
        title: "a changed key file and a login burst become one alert each, with a counter",
        takes_host: false,
        tell: |story| Box::pin(alerts::raise(story)),
    },
    Step {
        title: "the alert reaches owner and member as a readable mail",
        takes_host: false,
        tell: |story| Box::pin(alerts::mail(story)),
    },
    Step {
        title: "the host's firewall rules are asked for and come back as data",
        takes_host: true,
        tell: |story| Box::pin(firewall::ask(story)),
    },
    Step {
        title: "daemon killed, agent killed, REST away: the host converges, alerts arrive once",
        takes_host: true,
        tell: |story| Box::pin(outages::survive(story)),
    },
];

/// Tells the whole story.
pub(crate) async fn tell_all(story: &mut Story, report: &mut Report) {
    let degraded = story.why_degraded();
    for step in STEPS {
        match &degraded {
            Some(why) if step.takes_host => report.skip(step.title, why),
            _ => {
                let told = async { Ok(((step.tell)(story).await?, ())) };
                report.step(step.title, told).await;
            }
        }
    }
}
