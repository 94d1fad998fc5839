//! The law that the daemon lets a viewer see exactly what SQL lets that person select, on worlds of
//! random people, organizations, roles, shares and operators.

use std::collections::BTreeSet;

use hidps_lab::world::World;
use hidps_lab::world::viewer::{Viewer, ViewerError};
use hidps_wire::{AgentId, Refusal};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, TestRunner};

use super::{FEED_ALONE, run, sign};
use crate::faults::shared::with_world;

const PERSONS: usize = 8;
const ORGS: usize = 4;
const AGENTS: usize = 10;

/// Who is what to whom; the numbers are indices.
#[derive(Clone, Debug)]
struct Plan {
    /// Role of each person in each organization; 0 is none.
    roles: Vec<Vec<u8>>,
    /// Organization and owner of each agent.
    agents: Vec<(usize, usize)>,
    /// How each agent is shared with each person; 0 is not at all.
    shares: Vec<Vec<u8>>,
    /// Operators, with the organization they look into and whether they still do.
    looks: Vec<(usize, usize, bool)>,
}

fn plans() -> impl Strategy<Value = Plan> {
    // Most people have nothing to do with most organizations and agents.
    let role = || prop_oneof![3 => Just(0_u8), 2 => 1..4_u8];
    let share = || prop_oneof![6 => Just(0_u8), 1 => 1..4_u8];
    (
        prop::collection::vec(prop::collection::vec(role(), ORGS), PERSONS),
        prop::collection::vec((0..ORGS, 0..PERSONS), AGENTS),
        prop::collection::vec(prop::collection::vec(share(), PERSONS), AGENTS),
        prop::collection::vec((0..PERSONS, 0..ORGS, any::<bool>()), 0..3),
    )
        .prop_map(|(roles, agents, shares, looks)| Plan {
            roles,
            agents,
            shares,
            looks,
        })
}

/// The id of the nth thing of a kind, recognisable and of this test alone.
fn id(kind: u8, n: usize) -> String {
    format!("0190a000-0000-7000-8000-00{kind:02x}0000{n:04x}")
}

fn person(n: usize) -> String {
    id(0xe1, n)
}

fn org(n: usize) -> String {
    id(0xe2, n)
}

fn agent(n: usize) -> String {
    id(0xe3, n)
}

const CLEAN: &str = "
    delete from public.operator_looks where operator_id::text like '%-8000-00e1%';
    delete from private.platform_operators where user_id::text like '%-8000-00e1%';
    delete from public.agents where id::text like '%-8000-00e3%';
    delete from public.organizations where id::text like '%-8000-00e2%';
    delete from auth.users where id::text like '%-8000-00e1%';";

impl Plan {
    fn statements(&self) -> String {
        let mut sql = CLEAN.to_owned();
        for n in 0..PERSONS {
            sql += &format!(
                "insert into auth.users (id, email) values ('{}', 'person-{n}@random.test');",
                person(n)
            );
        }
        for n in 0..ORGS {
            sql += &format!(
                "insert into public.organizations (id, name) values ('{}', 'org {n}');",
                org(n)
            );
        }
        for (who, roles) in self.roles.iter().enumerate() {
            for (whose, role) in roles.iter().enumerate().filter(|(_, role)| **role > 0) {
                sql += &format!(
                    "insert into public.organization_members (org_id, user_id, role) \
                     values ('{}', '{}', '{}');",
                    org(whose),
                    person(who),
                    ["", "user", "admin", "owner"][usize::from(*role)],
                );
            }
        }
        for (n, (whose, owner)) in self.agents.iter().enumerate() {
            sql += &format!(
                "insert into public.agents (id, name, owner_id, org_id) \
                 values ('{}', 'agent {n}', '{}', '{}');",
                agent(n),
                person(*owner),
                org(*whose),
            );
        }
        for (n, shares) in self.shares.iter().enumerate() {
            for (who, share) in shares.iter().enumerate().filter(|(_, share)| **share > 0) {
                sql += &format!(
                    "insert into public.agent_users (agent_id, user_id, role) \
                     values ('{}', '{}', '{}');",
                    agent(n),
                    person(who),
                    ["", "user", "viewer", "admin"][usize::from(*share)],
                );
            }
        }
        for (who, whose, goes_on) in &self.looks {
            let hours = if *goes_on { 1 } else { -1 };
            sql += &format!(
                "insert into private.platform_operators (user_id, note) values ('{0}', 'a test') \
                 on conflict do nothing; \
                 insert into public.operator_looks (org_id, operator_id, reason, began_at, ends_at) \
                 values ('{1}', '{0}', 'to see whether it works', now() - interval '2 hours', \
                 now() + interval '{hours} hours') on conflict do nothing;",
                person(*who),
                org(*whose),
            );
        }
        sql
    }
}

/// What SQL lets this person select.
async fn selected(world: &World, who: usize) -> BTreeSet<String> {
    // Both forms in which gateways tell Postgres who asks.
    let statements = format!(
        "begin; \
         select set_config('request.jwt.claims', '{{\"sub\": \"{0}\", \"role\": \"authenticated\"}}', true), \
           set_config('request.jwt.claim.sub', '{0}', true); \
         set local role authenticated; \
         select id::text as agent from public.agents; \
         commit;",
        person(who)
    );
    let rows = world.stack.sql(&statements).await.expect("selected");
    let agents = rows.into_iter().filter_map(|mut row| row.remove("agent")?);
    agents.collect()
}

/// What the daemon lets this person watch, of all agents there are.
async fn watched(world: &World, who: usize) -> BTreeSet<String> {
    let token = sign(world, &person(who), None, 600);
    let viewer = Viewer::connect(world.daemon.address(), &token).await;
    let mut viewer = viewer.expect("the token is good");
    let seed = hidps_lab::world::AGENT.to_owned();
    let mut watched = BTreeSet::new();
    for text in (0..AGENTS).map(agent).chain([seed]) {
        let id: AgentId = text.parse().expect("a UUID");
        match viewer.subscribe(id).await {
            Ok(()) => {
                watched.insert(text);
            }
            Err(ViewerError::Refused {
                reason: Refusal::Forbidden,
                ..
            }) => {}
            Err(other) => panic!("{text}: {other}"),
        }
    }
    watched
}

#[test]
fn a_viewer_may_watch_exactly_what_sql_lets_that_person_select() {
    with_world(&FEED_ALONE, async |world| {
        let mut runner = TestRunner::new(Config::default());
        let (mut n_seen, mut n_hidden) = (0, 0);
        for _ in 0..3 {
            let plan = plans().new_tree(&mut runner).expect("a plan").current();
            run(world, &plan.statements()).await;
            for who in 0..PERSONS {
                let (expected, found) = (selected(world, who).await, watched(world, who).await);
                assert_eq!(found, expected, "person {who} of {plan:?}");
                n_seen += found.len();
                n_hidden += AGENTS + 1 - found.len();
            }
        }
        run(world, CLEAN).await;
        assert!(n_seen > 0 && n_hidden > 0, "the plans say nothing");
    });
}
