//! The questions that are open on one agent's connection.
//! It never answers one itself, except to say why it is not asked.

use hidps_wire::{Answer, DaemonFrame, DesiredDocument, Question};
use tokio::sync::oneshot;
use uuid::Uuid;

/// Most questions that may be open on one connection.
const MAX_QUESTIONS: usize = 16;

/// Who waits for an answer.
#[derive(Debug, Default)]
pub(super) struct OpenQuestions(Vec<(Uuid, oneshot::Sender<Answer>)>);

impl OpenQuestions {
    /// Opens a question and gives the frame that asks it, or refuses it; `desired` is put into a
    /// plan that names no document.
    pub(super) fn ask(
        &mut self,
        question: Question,
        desired: Option<DesiredDocument>,
        reply: oneshot::Sender<Answer>,
    ) -> Option<DaemonFrame> {
        self.0.retain(|(_, reply)| !reply.is_closed());
        let asked = if self.0.len() >= MAX_QUESTIONS {
            Err("too many questions are open at this host; ask again later")
        } else {
            complete(question, desired)
        };
        match asked {
            Ok(question) => {
                let id = Uuid::new_v4();
                self.0.push((id, reply));
                Some(DaemonFrame::Ask { id, question })
            }
            Err(message) => {
                let message = message.to_owned();
                // Nobody may be waiting any more.
                reply.send(Answer::Failed { message }).ok();
                None
            }
        }
    }

    /// Gives an answer to whoever asked; one that comes too late is for nobody.
    pub(super) fn answer(&mut self, id: Uuid, answer: Answer) {
        let Some(position) = self.0.iter().position(|(open, _)| *open == id) else {
            tracing::debug!("an answer came too late or to no question");
            return;
        };
        let (_, reply) = self.0.swap_remove(position);
        if reply.send(answer).is_err() {
            tracing::debug!("nobody waits for this answer any more");
        }
    }
}

fn complete(
    question: Question,
    desired: Option<DesiredDocument>,
) -> Result<Question, &'static str> {
    match question {
        Question::Plan { document } => document
            .or(desired.map(Box::new))
            .map(|document| Question::Plan {
                document: Some(document),
            })
            .ok_or("what is desired was not read yet; ask again later"),
        Question::FirewallRules | Question::FirewallStatus => Ok(question),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(document: Option<DesiredDocument>) -> Question {
        let document = document.map(Box::new);
        Question::Plan { document }
    }

    #[test]
    fn a_plan_without_a_document_is_about_what_is_desired_now() {
        let mut questions = OpenQuestions::default();
        let desired = DesiredDocument {
            firewall_enabled: Some(true),
            monitored_files: Vec::new(),
            ..DesiredDocument::default()
        };

        let asked = questions.ask(plan(None), Some(desired.clone()), oneshot::channel().0);

        let Some(DaemonFrame::Ask { question, .. }) = asked else {
            panic!("nothing is asked")
        };
        assert_eq!(question, plan(Some(desired)));
    }

    #[tokio::test]
    async fn a_plan_of_what_is_not_known_yet_is_refused_in_words() {
        let (reply, answer) = oneshot::channel();

        let asked = OpenQuestions::default().ask(plan(None), None, reply);

        assert_eq!(asked, None);
        let answer = answer.await.expect("it is answered");
        assert!(matches!(answer, Answer::Failed { message } if message.contains("not read yet")));
    }

    #[tokio::test]
    async fn more_questions_than_may_be_open_are_refused_until_some_are_given_up() {
        let mut questions = OpenQuestions::default();
        let mut ask = || {
            let (reply, answer) = oneshot::channel();
            let asked = questions.ask(Question::FirewallStatus, None, reply);
            (asked.is_some(), answer)
        };
        let open: Vec<_> = (0..MAX_QUESTIONS).map(|_| ask()).collect();

        let (beyond, _) = ask();
        drop(open);
        let (again, _) = ask();

        assert!(!beyond && again);
    }
}
