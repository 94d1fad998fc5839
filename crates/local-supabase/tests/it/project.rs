//! What a started stack holds: the project's schema and people, mail, and the place of its files.
//! Never injects a fault.

use anyhow::Context;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::shared::{ADMIN, PASSWORD, SHARED};

#[test]
fn the_migrations_and_the_seed_of_the_project_are_applied() -> anyhow::Result<()> {
    SHARED.run(async |stack| {
        let query =
            "select a.name, u.email from public.agents a join auth.users u on u.id = a.owner_id";

        let agents = stack.sql(query).await?;

        assert_eq!(agents[0]["name"].as_deref(), Some("web-01"));
        assert_eq!(agents[0]["email"].as_deref(), Some(ADMIN));
        Ok(())
    })
}

#[test]
fn a_seeded_person_signs_in_and_a_wrong_password_is_refused_in_words() -> anyhow::Result<()> {
    SHARED.run(async |stack| {
        let token = stack.sign_in(ADMIN, PASSWORD).await?;
        let refused = stack.sign_in(ADMIN, "wrong-password").await;

        assert_eq!(token.split('.').count(), 3);
        let error = refused.expect_err("the password is wrong").to_string();
        assert!(error.contains("status 400"), "{error}");
        assert!(!error.contains("wrong-password"), "{error}");
        Ok(())
    })
}

#[test]
fn a_mail_sent_by_smtp_is_caught_whole() -> anyhow::Result<()> {
    SHARED.run(async |stack| {
        let message = "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nMessage-ID: <smtp-test@here>\r\n\r\nHello\r\n.";
        let lines = [
            "HELO here",
            "MAIL FROM:<from@example.test>",
            "RCPT TO:<to@example.test>",
            "DATA",
            message,
            "QUIT",
        ];
        let smtp = TcpStream::connect(stack.smtp_address()).await?;
        let mut smtp = BufReader::new(smtp);
        let mut answers = String::new();
        for line in lines {
            // A server drops whoever speaks before it was answered.
            smtp.read_line(&mut answers).await?;
            smtp.write_all(format!("{line}\r\n").as_bytes()).await?;
        }
        smtp.read_line(&mut answers).await?;

        let mails = stack.mails().await?;

        let is_ours = |id| id == Some("<smtp-test@here>");
        let mail = mails.iter().find(|mail| is_ours(mail.header("message-id"))).context(answers)?;
        assert_eq!((mail.from.as_str(), mail.to.as_slice()), ("from@example.test", &["to@example.test".to_owned()][..]));
        assert_eq!((mail.subject.as_str(), mail.text.trim()), ("Grüße", "Hello"));
        Ok(())
    })
}

#[test]
fn what_is_written_to_the_database_is_found_in_the_files_of_the_stack() -> anyhow::Result<()> {
    SHARED.run(async |stack| {
        // Split, so that the statement in a log does not count.
        stack
            .sql("create table public.marks as select 'mark-' || 'in-the-log' as mark")
            .await?;

        let mut directories = vec![stack.data_dir().to_owned()];
        let mut found = false;
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(&directory)? {
                let path = entry?.path();
                if path.is_dir() {
                    directories.push(path);
                } else if let Ok(bytes) = std::fs::read(&path) {
                    found |= bytes.windows(15).any(|window| window == b"mark-in-the-log");
                }
            }
        }

        assert!(found);
        Ok(())
    })
}
