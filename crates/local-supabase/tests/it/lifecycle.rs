//! What is there while a stack runs and what is left when it has stopped.
//! Never uses the shared stack, because these tests end theirs.

use std::path::Path;

use hidps_local_supabase::{Options, Stack};

use crate::shared::seeded;

/// Lists the processes whose command line names a path.
fn list_processes_of(home: &Path) -> Vec<String> {
    let home = home.to_string_lossy().into_owned();
    let processes = std::fs::read_dir("/proc")
        .expect("/proc is readable")
        .filter_map(Result::ok);
    processes
        .filter_map(|process| std::fs::read_to_string(process.path().join("cmdline")).ok())
        .filter(|command| command.contains(&home))
        .collect()
}

#[tokio::test]
async fn a_stopped_stack_leaves_no_process_and_no_file() -> anyhow::Result<()> {
    let stack = Stack::start(Options::default()).await?;
    let home = stack.data_dir().to_owned();
    let n_running = list_processes_of(&home).len();

    stack.stop().await?;

    assert!(n_running > 0);
    assert_eq!(list_processes_of(&home), Vec::<String>::new());
    assert!(!home.exists());
    Ok(())
}

#[tokio::test]
async fn the_migrations_and_the_seed_of_the_project_are_applied() -> anyhow::Result<()> {
    let stack = Stack::start(seeded()).await?;

    let agents = stack.sql("select name from public.agents").await?;

    assert_eq!(agents[0]["name"].as_deref(), Some("web-01"));
    stack.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_broken_migration_is_named_with_its_line() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let text = "create table public.a (id int);\n\nselect nonsense;\n";
    std::fs::write(folder.path().join("1_broken.sql"), text)?;
    let options = Options {
        migrations: Some(folder.path().to_owned()),
        ..Options::default()
    };

    let error = Stack::start(options)
        .await
        .expect_err("the migration is broken")
        .to_string();

    assert!(error.contains("1_broken.sql"), "{error}");
    assert!(error.contains("line 3"), "{error}");
    assert!(error.contains("nonsense"), "{error}");
    Ok(())
}
