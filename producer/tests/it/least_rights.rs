//! The roles of deploy/sql and the permissions of deploy/rabbitmq run the whole line, and may do
//! nothing beside it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use testkit::{DEAD, Outcome, Project, Servers, World};

use crate::console::actions::{audit, hidden, with};
use crate::console::{Console, PASSWORD};
use crate::{KEY, PROJECT, add_project, yesterday};

const PATIENCE: Duration = Duration::from_secs(60);

async fn sql(world: &World, text: &'static str) {
    sqlx::raw_sql(text).execute(&world.pool()).await.unwrap();
}

/// Runs a file of deploy/sql as its documentation says. Answers with what psql complains of; `None` when there is no psql here,
/// and then nothing is done.
fn psql(world: &World, file: &str, arguments: &[&str]) -> Option<String> {
    psql_as(&world.database_url, file, arguments)
}

/// The same as the role of a URL.
fn psql_as(url: &str, file: &str, arguments: &[&str]) -> Option<String> {
    let (succeeded, said) = psql_says(url, file, arguments)?;
    assert!(succeeded, "{said}");
    Some(said)
}

/// The same, whether it succeeds or not.
fn psql_says(url: &str, file: &str, arguments: &[&str]) -> Option<(bool, String)> {
    let Some(programs) = crate::backup::programs() else {
        assert!(std::env::var_os("CI").is_none(), "there is no psql");
        return None;
    };
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/sql");
    let output = std::process::Command::new(programs.join("psql"))
        .args(["--no-psqlrc", "--dbname", url])
        .args(arguments)
        .arg("-f")
        .arg(path.join(file))
        .output()
        .unwrap();
    Some((output.status.success(), String::from_utf8(output.stderr).unwrap()))
}

/// The same without psql, in the schema `public`.
async fn make_roles(world: &World) {
    for (file, text) in [
        ("reader.sql", include_str!("../../../deploy/sql/reader.sql")),
        ("ledger.sql", include_str!("../../../deploy/sql/ledger.sql")),
        ("settings.sql", include_str!("../../../deploy/sql/settings.sql")),
    ] {
        if let Some(said) = psql(world, file, &[]) {
            assert!(!said.contains("ERROR"), "{said}");
            continue;
        }
        let lines = text.lines().filter(|line| !line.trim_start().starts_with('\\'));
        let text = lines.collect::<Vec<_>>().join("\n").replace(":\"schema\"", "public");
        sqlx::raw_sql(sqlx::AssertSqlSafe(text))
            .execute(&world.pool())
            .await
            .unwrap();
    }
}

/// The roles are there already; what the files grant in another schema of another database is enough to read and to write there.
async fn another_schema_is_granted(servers: &Arc<Servers>) {
    let world = World::on(Arc::clone(servers)).await;
    add_project(&world, PROJECT, true).await;
    sql(
        &world,
        "alter schema public rename to \"Lang fuse\"; create schema public",
    )
    .await;
    for file in ["reader.sql", "settings.sql"] {
        let Some(said) = psql(&world, file, &["-v", "schema=Lang fuse"]) else {
            return;
        };
        assert!(!said.contains("ERROR"), "{said}");
    }
    let role = |name: &str| {
        let url = world
            .database_url
            .replace("postgres@", &format!("posthog_export_{name}@"));
        format!("{url}?schema=Lang%20fuse")
    };
    let (reader, settings) = (role("reader"), role("settings"));
    let ours = [
        ("DATABASE_URL", reader.as_str()),
        ("LEDGER_DATABASE_URL", &world.database_url),
    ];
    let listed = world.producer_with_env(&["integrations", "list"], &ours).await;
    assert!(listed.code == 0 && listed.stdout.contains(PROJECT), "{}", listed.stderr);
    let ours = [("DATABASE_URL", settings.as_str())];
    let set = ["integrations", "set", "--project", PROJECT, "--disable"];
    let changed = world.producer_with_env(&set, &ours).await;
    assert_eq!(changed.code, 0, "{}", changed.stderr);
}

/// A managed database has no superuser: its owner, who may create roles, makes and drops all roles.
#[tokio::test]
async fn an_owner_who_may_create_roles_is_enough() {
    let world = World::on(Arc::new(Servers::start().await)).await;
    sql(
        &world,
        "create role chief login createrole; revoke create on schema public from public;
         do $$ begin
             execute format('alter database %I owner to chief', current_database());
             execute (select string_agg(format('alter table public.%I owner to chief', tablename), ';')
                      from pg_tables where schemaname = 'public');
         end $$; alter schema public owner to chief; create role simple login",
    )
    .await;
    let role = |name: &str| world.database_url.replace("postgres@", &format!("{name}@"));
    let chief = role("chief");
    for file in ["reader.sql", "ledger.sql", "settings.sql"] {
        if psql_as(&chief, file, &[]).is_none() {
            return;
        }
    }
    let owner = role("posthog_export_owner");
    let migrated = world
        .producer_with_env(&["migrate"], &[("LEDGER_DATABASE_URL", &owner)])
        .await;
    assert_eq!(migrated.code, 0, "{}", migrated.stderr);
    // Also when it is there already.
    for _ in 0..2 {
        psql_as(&chief, "operator.sql", &[]);
    }
    let pool = sqlx::PgPool::connect(&chief).await.unwrap();
    let upgrade = include_str!("../../../docs/UPGRADE.md");
    let (_, rest) = upgrade.split_once("## Uninstall").unwrap();
    let (_, block) = rest.split_once("```sql").unwrap();
    let (statements, _) = block.split_once("```").unwrap();
    sqlx::raw_sql(statements).execute(&pool).await.unwrap();
    let left = "select count(*) from pg_roles where rolname like 'posthog_export%'";
    let left: i64 = sqlx::query_scalar(left).fetch_one(&pool).await.unwrap();
    assert_eq!(left, 0);
    pool.close().await;
}

/// To PostgreSQL a grant by somebody who may not give the right on is a warning. The files end with an error, and leave nothing.
#[tokio::test]
async fn rights_that_were_not_granted_are_an_error() {
    let world = World::on(Arc::new(Servers::start().await)).await;
    sql(
        &world,
        "create role looker login createrole;
         grant select, insert, update on all tables in schema public to looker;
         create role simple login; grant create, usage on schema public to simple;
         do $$ begin
             execute (select string_agg(format('alter table public.%I owner to simple', tablename), ';')
                      from pg_tables where schemaname = 'public');
         end $$",
    )
    .await;
    let role = |name: &str| world.database_url.replace("postgres@", &format!("{name}@"));
    for file in ["reader.sql", "settings.sql"] {
        let Some((succeeded, said)) = psql_says(&role("looker"), file, &[]) else {
            return;
        };
        assert!(
            !succeeded && said.contains("was not given the right to") && said.contains("Managed PostgreSQL"),
            "{file}: {said}"
        );
    }
    let made = "select count(*) from pg_roles where rolname like 'posthog_export%'";
    let made: i64 = sqlx::query_scalar(made).fetch_one(&world.pool()).await.unwrap();
    assert_eq!(made, 0);
    // Somebody else makes the roles; the owner of the tables, who may make none, grants.
    let install = include_str!("../../../docs/INSTALL.md");
    let (_, rest) = install.split_once("The administrator creates the roles").unwrap();
    let (_, block) = rest.split_once("```sql").unwrap();
    let (statements, _) = block.split_once("```").unwrap();
    sqlx::raw_sql(statements).execute(&world.pool()).await.unwrap();
    for file in ["reader.sql", "settings.sql", "reader.sql"] {
        psql_as(&role("simple"), file, &[]);
    }
    let readers = role("posthog_export_reader");
    assert!(refused(&readers, "select input from public.traces").await);
    assert!(refused(&readers, "create table public.mine (id int)").await);
    let pool = sqlx::PgPool::connect(&readers).await.unwrap();
    sqlx::raw_sql("select id, tags from public.traces")
        .execute(&pool)
        .await
        .unwrap();
    pool.close().await;
}

/// Makes the users of the permissions file in this world's virtual host. Answers their AMQP URLs.
async fn broker_users(world: &World) -> BTreeMap<String, String> {
    let file: Value = serde_json::from_str(include_str!("../../../deploy/rabbitmq/permissions.json")).unwrap();
    let management = world.servers().rabbitmq.management();
    let mut urls = BTreeMap::new();
    for permission in file["permissions"].as_array().unwrap() {
        let user = permission["user"].as_str().unwrap();
        let password = json!({"password": "pass", "tags": ""});
        management.request(Method::PUT, &["users", user], Some(password)).await;
        let rights =
            json!({"configure": permission["configure"], "write": permission["write"], "read": permission["read"]});
        management
            .request(Method::PUT, &["permissions", &world.vhost, user], Some(rights))
            .await;
        let url = format!(
            "amqp://{user}:pass@{}/{}",
            world.servers().rabbitmq.address(),
            world.vhost
        );
        urls.insert(user.to_owned(), url);
    }
    urls
}

/// Whether the database refuses a statement of that role.
async fn refused(url: &str, statement: &'static str) -> bool {
    let pool = sqlx::PgPool::connect(url).await.unwrap();
    let ended = sqlx::raw_sql(statement).execute(&pool).await;
    let error = ended.err().map(|error| error.to_string()).unwrap_or_default();
    pool.close().await;
    error.contains("permission denied") || error.contains("must be owner") || error.contains("read-only transaction")
}

/// A user who may declare nothing cannot compare a queue's arguments by declaring it, so the doctor
/// reads them over the management API.
async fn arguments_are_compared_over_the_management_api(world: &World, producer: &[(&str, String)]) {
    const RUNG: &str = "posthog-export.retry.2s";
    let mut settings: Vec<(&str, &str)> = producer.iter().map(|(name, value)| (*name, value.as_str())).collect();
    settings.push(("AMQP_MANAGEMENT_URL", &world.management_url));
    let topology = async || {
        let output = world.producer_with_env(&["doctor", "--json"], &settings).await;
        let report: Value = serde_json::from_str(&output.stdout).unwrap();
        let checks = report["checks"].as_array().unwrap().clone();
        let of_topology = checks.into_iter().filter(|found| found["check"] == "broker.topology");
        of_topology.collect::<Vec<_>>()
    };
    let sound = topology().await;
    assert!(sound.iter().all(|found| found["status"] == "ok"), "{sound:?}");

    let management = world.servers().rabbitmq.management();
    let rung = ["queues", world.vhost.as_str(), RUNG];
    let ours = management.request(Method::GET, &rung, None).await["arguments"].clone();
    let make = async |arguments: Value| {
        management.request(Method::DELETE, &rung, None).await;
        let body = json!({"durable": true, "arguments": arguments});
        management.request(Method::PUT, &rung, Some(body)).await;
    };
    let mut others = ours.clone();
    others["x-message-ttl"] = json!(5000);
    make(others).await;
    let found = topology().await;
    let told = found.iter().find(|found| found["status"] == "problem").unwrap();
    let text = told["found"].as_str().unwrap();
    assert!(
        text.contains(RUNG) && text.contains("x-message-ttl = 5000, not 2000"),
        "{text}"
    );
    make(ours).await;
    let bindings = ["bindings", world.vhost.as_str(), "e", RUNG, "q", RUNG];
    management
        .request(Method::POST, &bindings, Some(json!({"routing_key": ""})))
        .await;
}

/// Its role reads the ledger, and its user has no right at the broker but to come in.
async fn the_console_needs_less(world: &World, reader: &str, viewer: &str, amqp: &str) {
    let settings = [
        ("DATABASE_URL", reader),
        ("LEDGER_DATABASE_URL", viewer),
        ("AMQP_URL", amqp),
    ];
    let console = Console::start(world, &[], &settings).await;
    let day = yesterday();
    for path in [
        "/".to_owned(),
        "/projects/project%20one".to_owned(),
        format!("/runs/project%20one/{day}/daily"),
        "/dead-letters".to_owned(),
    ] {
        let page = console.page(&path).await;
        assert!(!page.contains("does not answer"), "{page}");
    }
    console.process.terminate();
    // With actions it says at once which role is needed.
    let acting = Console::acting(world, &settings).await;
    let warned = || async {
        let log = acting.process.log();
        log.contains("posthog_export_viewer") && log.contains("deploy/sql/operator.sql")
    };
    world.wait_until("the viewer may not act", PATIENCE, warned).await;
    acting.process.terminate();
    let limit = "select rolconnlimit from pg_roles where rolname = 'posthog_export_viewer'";
    let limit: i32 = sqlx::query_scalar(limit).fetch_one(&world.pool()).await.unwrap();
    assert_eq!(limit, 20, "pages could take the connections of the workers");
}

/// A dead run whose last claim nobody ended: the operator's role may end it.
async fn discarding_ends_the_last_claim(world: &World, console: &Console) {
    sql(
        world,
        "insert into posthog_export.runs (project_id, day, run, state, error_code, error)
         values ('project one', '2024-01-05', 'daily', 'dead', 'internal', 'x');
         insert into posthog_export.claims (project_id, day, run, number, lease_token, worker, attempt)
         values ('project one', '2024-01-05', 'daily', 1, gen_random_uuid(), 'worker-7', 1)",
    )
    .await;
    let marked = [("id", "project%20one/2024-01-05/daily")];
    let asked = console.preview("/dead-letters/discard/preview", &marked).await;
    let done = console.act("/dead-letters/discard", &with(&hidden(&asked), &[])).await;
    assert!(done.contains("The dead letter was discarded."), "{done}");
    let ended = "select ended_as from posthog_export.claims where day = '2024-01-05'";
    let ended: Option<String> = sqlx::query_scalar(ended).fetch_one(&world.pool()).await.unwrap();
    assert_eq!(ended.as_deref(), Some("lost"));
}

/// Workers and the producer cannot touch what was done in the console, nor the list of migrations, and do their own work.
async fn nobody_else_writes_the_audit(world: &World, app: &str, producer: &[(&str, String)]) {
    for statement in [
        "delete from posthog_export.audit",
        "update posthog_export.audit set address = 'y'",
        "insert into posthog_export.audit (address, action, subjects) values ('x', 'x', '[]')",
        "delete from posthog_export._sqlx_migrations",
        "update posthog_export._sqlx_migrations set success = false",
    ] {
        assert!(refused(app, statement).await, "{statement}");
    }
    assert!(!refused(app, "select 1 from posthog_export.audit").await);
    let day = yesterday().to_string();
    let replay = ["replay", "--project", PROJECT, "--day", &day, "--events", "trace"];
    let settings: Vec<(&str, &str)> = producer.iter().map(|(name, value)| (*name, value.as_str())).collect();
    for command in [&["enqueue"][..], &replay, &["status"], &["dead-letters", "list"]] {
        let output = world.producer_with_env(command, &settings).await;
        assert_eq!(output.code, 0, "{command:?}\n{}{}", output.stdout, output.stderr);
    }
    let done = || async {
        let done =
            "select exists (select 1 from posthog_export.runs where events = array['trace'] and state = 'completed')";
        let done: bool = sqlx::query_scalar(done).fetch_one(&world.pool()).await.unwrap();
        done
    };
    world.wait_until("a worker exports it", PATIENCE, done).await;
}

/// With actions it needs more, and may do no more than its actions do.
async fn an_operator_acts(world: &World, reader: &str, operator: &str, amqp: &str) {
    if let Some(said) = psql(world, "operator.sql", &[]) {
        assert!(!said.contains("ERROR"), "{said}");
    } else {
        let text = include_str!("../../../deploy/sql/operator.sql");
        sqlx::raw_sql(text).execute(&world.pool()).await.unwrap();
    }
    let settings = [
        ("DATABASE_URL", reader),
        ("LEDGER_DATABASE_URL", operator),
        ("AMQP_URL", amqp),
    ];
    let console = Console::acting(world, &settings).await;
    let day = yesterday().to_string();
    let range = [("from", day.as_str()), ("to", day.as_str())];
    for (action, fields) in [("pause", &[][..]), ("resume", &[]), ("replay", &range)] {
        let to = format!("/projects/project%20one/{action}");
        let asked = console.preview(&format!("{to}/preview"), fields).await;
        let done = console.act(&to, &with(&hidden(&asked), &[])).await;
        assert!(done.contains(">done<"), "{action}: {done}");
    }
    let checked = console.act("/projects/project%20one/check-key", &[]).await;
    assert!(checked.contains("knows the key"), "{checked}");
    assert!(!console.process.log().contains("--allow-actions"), "it may write");
    let rows = audit(world).await;
    assert!(
        rows.len() == 4 && rows.iter().all(|row| row["state"] == "done"),
        "{rows:#?}"
    );
    console.act("/doctor/run", &[]).await;
    let found = console.get("/doctor").basic_auth("x", Some(PASSWORD));
    let found = found.send().await.unwrap().text().await.unwrap();
    assert!(
        found.contains("may read its tables and write what actions write"),
        "{found}"
    );
    discarding_ends_the_last_claim(world, &console).await;
    console.process.terminate();
    for statement in [
        "select 1 from public.traces",
        "delete from posthog_export.audit",
        "update posthog_export.audit set action = 'x', address = 'y'",
        "insert into posthog_export.audit (at, address, action, subjects) values (now(), 'x', 'x', '[]')",
        "delete from posthog_export.runs",
        "update posthog_export.streams set sent = 0",
        "delete from posthog_export.rejects",
        "update posthog_export.arrivals set verdict = 'arrived'",
        "delete from posthog_export.sweeps",
        "create table posthog_export.mine (id int)",
    ] {
        assert!(refused(operator, statement).await, "{statement}");
    }
}

#[tokio::test]
async fn the_documented_roles_and_users_run_the_whole_line() {
    // Roles belong to a server, and these have the names of the documentation.
    let servers = Arc::new(Servers::start().await);
    let world = Arc::new(World::on(Arc::clone(&servers)).await);
    let project = Project::of(&world, PROJECT, KEY);
    world.set("EXPORT_LAG", "0s");
    add_project(&world, PROJECT, true).await;
    project.seed(&[yesterday()], 20, 3).await;
    // With a neighbour who has more scores that day, a project's own are read by a statement of
    // their own.
    add_project(&world, "neighbour", false).await;
    Project::of(&world, "neighbour", KEY).seed(&[yesterday()], 40, 4).await;
    sql(&world, "revoke all on schema public from public").await;
    sql(
        &world,
        "revoke create on schema public from public; alter role postgres set statement_timeout = 0",
    )
    .await;
    make_roles(&world).await;
    let role = |name: &str| {
        world
            .database_url
            .replace("postgres@", &format!("posthog_export_{name}@"))
    };
    let users = broker_users(&world).await;
    let user = |name: &str| users[&format!("posthog-export-{name}")].clone();
    let (reader, owner, app, settings_role) = (role("reader"), role("owner"), role("app"), role("settings"));
    let viewer = role("viewer");
    let as_user = |amqp: &str, ledger: &str| {
        [
            ("DATABASE_URL", reader.clone()),
            ("LEDGER_DATABASE_URL", ledger.to_owned()),
            ("AMQP_URL", amqp.to_owned()),
        ]
    };
    let run = async |arguments: &[&str], settings: &[(&str, String)]| {
        let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let output = world.producer_with_env(arguments, &settings).await;
        assert_eq!(output.code, 0, "{arguments:?}\n{}{}", output.stdout, output.stderr);
        output
    };
    let setup = as_user(&user("setup"), &owner);
    let producer = as_user(&user("producer"), &app);
    let worker = as_user(&user("worker"), &app);
    run(&["migrate"], &setup).await;
    run(&["declare"], &setup).await;

    // Somebody saves a project's settings: those of one that had none, and parts of them.
    let save = [
        ("DATABASE_URL", settings_role.clone()),
        ("POSTHOG_API_KEY", KEY.to_owned()),
    ];
    sql(&world, "delete from posthog_integrations").await;
    let (host, set) = (world.posthog.url(), ["integrations", "set", "--project", PROJECT]);
    // The reader may not, and is told so before a key is asked for.
    let reading = [("DATABASE_URL", reader.as_str())];
    let reader_told = world
        .producer_with_env(&[&set[..], &["--host", &host]].concat(), &reading)
        .await;
    let told = ["SETTINGS_DATABASE_URL", "deploy/sql/settings.sql"];
    let all = told.iter().all(|part| reader_told.stderr.contains(part));
    assert!(all && reader_told.code == 2, "{}", reader_told.stderr);
    // The key is a wrong one, which the run below shall find out.
    run(&[&set[..], &["--host", &host, "--no-check"]].concat(), &save).await;
    for change in ["--disable", "--enable"] {
        run(&[&set[..], &[change]].concat(), &save[..1]).await;
    }

    // Enqueue, fail, dead letter, status, list, requeue, export.
    let mut settings: Vec<(&str, &str)> = worker.iter().map(|(name, value)| (*name, value.as_str())).collect();
    settings.push(("METRICS_INTERVAL", "1s"));
    let process = world.ready_worker(&settings).await;
    let enqueued = run(&["enqueue"], &producer).await;
    assert!(!enqueued.stderr.contains("\"WARN\""), "{}", enqueued.stderr);
    let dead = || async { world.queue_depth(DEAD).await == 1 };
    world
        .wait_until("the refused key is a dead letter", PATIENCE, dead)
        .await;
    // The worker may look at queues that it may not read.
    let counted = async || {
        let depth = "posthog_export_queue_messages{queue=\"posthog-export.dead-letters\"} 1\n";
        let lag = "posthog_export_last_look_timestamp_seconds{source=\"ledger\"} 0\n";
        let metrics = process.metrics().await;
        metrics.contains(depth) && !metrics.contains(lag)
    };
    world.wait_until("the dead letter is counted", PATIENCE, counted).await;
    let listed = run(&["dead-letters", "list"], &producer).await.stdout;
    assert!(listed.contains("unauthorized"), "{listed}");
    let id = format!("{PROJECT}/{}/daily", yesterday());
    run(&["dead-letters", "show", &id], &producer).await;
    run(&["status"], &producer).await;
    run(&["projects", "list"], &producer).await;
    world.posthog.known_key(KEY);
    run(&["dead-letters", "requeue", "--all", "--yes"], &producer).await;
    project.wait_state(yesterday(), "daily", "completed").await;
    run(&["enqueue"], &producer).await;
    run(
        &["replay", "--project", PROJECT, "--day", &yesterday().to_string()],
        &producer,
    )
    .await;
    crate::dashboards::may_make(&world);
    for command in ["create", "update", "delete"] {
        run(&["dashboards", command, "--project", PROJECT], &producer).await;
    }
    let report = run(&["doctor", "--json"], &producer).await.stdout;
    let report: Value = serde_json::from_str(&report).unwrap();
    let of = |check: &str| {
        let found = report["checks"]
            .as_array()
            .unwrap()
            .iter()
            .find(|found| found["check"] == check);
        found.unwrap_or_else(|| panic!("{check} in {report:#}"))["status"].clone()
    };
    assert_eq!((of("database.rights"), of("ledger.rights")), (json!("ok"), json!("ok")));
    assert_eq!(of("broker.topology"), "unknown");
    arguments_are_compared_over_the_management_api(&world, &producer).await;

    // A rung: the worker publishes there too.
    world
        .posthog
        .script(testkit::posthog::Rule::always(testkit::posthog::Behavior::status(503)));
    let replay = ["replay", "--project", PROJECT, "--day", &yesterday().to_string()];
    run(&replay, &producer).await;
    process.wait_outcome(Outcome::Retry, None).await;
    world.posthog.behave();
    // A missing right that is not needed is no error.
    let errors: Vec<String> = process
        .log()
        .lines()
        .filter(|line| line.contains("\"ERROR\""))
        .map(str::to_owned)
        .collect();
    assert!(
        errors.iter().all(|line| line.contains("\"outcome\":\"dead\"")),
        "{errors:?}"
    );

    for (url, statement) in [
        (&reader, "select input from traces limit 1"),
        (
            &reader,
            "set default_transaction_read_only = off; update posthog_integrations set enabled = false",
        ),
        (&reader, "select 1 from posthog_export.runs"),
        (&settings_role, "select 1 from public.traces"),
        (&settings_role, "delete from posthog_integrations"),
        (&settings_role, "select 1 from posthog_export.runs"),
        (&app, "select 1 from public.traces"),
        (&app, "drop table posthog_export.runs"),
        (&app, "create table posthog_export.mine (id int)"),
        (&owner, "select 1 from public.traces"),
        (&viewer, "select 1 from public.traces"),
        (
            &viewer,
            "set default_transaction_read_only = off; delete from posthog_export.paused",
        ),
    ] {
        assert!(refused(url, statement).await, "{statement}");
    }
    let settings: Vec<(&str, &str)> = producer.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let output = world.producer_with_env(&["declare"], &settings).await;
    assert!(
        output.code == 1 && output.stderr.contains("ACCESS_REFUSED"),
        "{}",
        output.stderr
    );
    the_console_needs_less(&world, &reader, &viewer, &user("console")).await;
    an_operator_acts(&world, &reader, &role("operator"), &user("operator")).await;
    nobody_else_writes_the_audit(&world, &app, &producer).await;
    another_schema_is_granted(&servers).await;
}
