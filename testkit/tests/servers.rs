//! The testkit itself: its servers start, keep worlds apart, survive what tests do to them, and
//! leave nothing behind.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends so")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Connection, ConnectionProperties};
use sqlx::{Connection as _, PgConnection};
use testkit::proxy::Flow;
use testkit::{Servers, TcpProxy, World, wait};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const SOON: Duration = Duration::from_secs(15);

async fn declare(amqp_url: &str, queue: &str) -> Connection {
    let connection = Connection::connect(amqp_url, ConnectionProperties::default())
        .await
        .expect("connect");
    let channel = connection.create_channel().await.expect("channel");
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    let durable = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    channel
        .queue_declare(queue.into(), durable, arguments)
        .await
        .expect("declare");
    connection
}

#[tokio::test]
async fn worlds_do_not_see_each_other() {
    let (one, two) = tokio::join!(World::new(), World::new());
    assert_ne!(one.database_url, two.database_url);
    assert_ne!(one.vhost, two.vhost);

    sqlx::raw_sql("CREATE TABLE only_here (id int)")
        .execute(&one.pool())
        .await
        .expect("create");
    let tables = "SELECT count(*) FROM pg_tables WHERE tablename = 'only_here'";
    assert_eq!(
        sqlx::query_scalar::<_, i64>(tables)
            .fetch_one(&one.pool())
            .await
            .expect("count"),
        1
    );
    assert_eq!(
        sqlx::query_scalar::<_, i64>(tables)
            .fetch_one(&two.pool())
            .await
            .expect("count"),
        0
    );
    let traces = "SELECT count(*) FROM traces";
    assert_eq!(
        sqlx::query_scalar::<_, i64>(traces)
            .fetch_one(&one.pool())
            .await
            .expect("the Langfuse tables"),
        0
    );

    let _one = declare(&one.amqp_url, "letters").await;
    let _two = declare(&two.amqp_url, "letters").await;
    assert!(one.publish("amq.default", "letters", b"{\"a\":1}").await, "routed");
    assert!(one.publish("amq.default", "letters", &[0xff, 0x00]).await, "routed");
    assert!(!one.publish("amq.default", "nowhere", b"{}").await, "not routed");
    assert_eq!(one.queue_depth("letters").await, 2);
    assert_eq!(two.queue_depth("letters").await, 0);
    one.wait_until("the statistics know both messages", SOON, async || {
        one.queue_messages("letters").await == Some(2)
    })
    .await;

    let first = one.get_message("letters").await.expect("a message");
    assert_eq!(first.json()["a"], 1);
    assert_eq!(one.get_message("letters").await.expect("a message").body, [0xff, 0x00]);
    assert_eq!(one.get_message("letters").await, None);
    assert!(one.publish("amq.default", "letters", b"x").await);
    assert_eq!(one.purge("letters").await, 1);
    assert_eq!(one.queue_depth("letters").await, 0);
}

#[tokio::test]
async fn headers_come_back_as_json() {
    let world = World::new().await;
    let connection = declare(&world.amqp_url, "letters").await;
    let channel = connection.create_channel().await.expect("channel");
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await
        .expect("confirms");
    let mut headers = FieldTable::default();
    headers.insert("x-attempt".into(), AMQPValue::LongInt(3));
    headers.insert("x-error".into(), AMQPValue::LongString("no".into()));
    let properties = BasicProperties::default()
        .with_headers(headers)
        .with_delivery_mode(2)
        .with_content_type("text/plain".into());
    let options = BasicPublishOptions {
        mandatory: true,
        ..BasicPublishOptions::default()
    };
    let confirmed = channel
        .basic_publish("".into(), "letters".into(), options, b"body", properties)
        .await
        .expect("publish");
    assert!(confirmed.await.expect("confirm").is_ack());
    let message = world.get_message("letters").await.expect("a message");
    assert_eq!(message.headers["x-attempt"], 3);
    assert_eq!(message.headers["x-error"], "no");
    assert_eq!(message.delivery_mode, Some(2));
    assert_eq!(message.content_type.as_deref(), Some("text/plain"));
    assert_eq!(message.routing_key, "letters");
}

/// A pair of servers of its own: this test stops them, and other tests would fail.
#[tokio::test]
async fn what_was_confirmed_survives_servers_that_are_killed() {
    let servers = std::sync::Arc::new(Servers::start().await);
    if !servers.postgres.is_ours() || !servers.rabbitmq.is_ours() {
        return;
    }
    let world = World::on(servers.clone()).await;
    let directory = servers.directory().path().to_owned();
    sqlx::raw_sql("CREATE TABLE kept (id int); INSERT INTO kept VALUES (7)")
        .execute(&world.pool())
        .await
        .expect("insert");
    drop(declare(&world.amqp_url, "kept").await);
    assert!(world.publish("amq.default", "kept", b"{}").await);
    let kept = || async {
        sqlx::query_scalar::<_, i32>("SELECT id FROM kept")
            .fetch_one(&world.pool())
            .await
            .ok()
    };

    servers.rabbitmq.keep_names().await;
    servers.postgres.kill();
    servers.rabbitmq.kill();
    assert!(PgConnection::connect(&world.database_url).await.is_err());
    assert!(
        Connection::connect(&world.amqp_url, ConnectionProperties::default())
            .await
            .is_err()
    );
    tokio::join!(servers.postgres.start_again(), servers.rabbitmq.start_again());
    assert_eq!(wait::until(SOON, kept).await, Some(7));
    world
        .wait_until("the queue has recovered", SOON, async || {
            world.queue_depth("kept").await == 1
        })
        .await;

    servers.postgres.restart().await;
    assert_eq!(wait::until(SOON, kept).await, Some(7));

    servers.postgres.pause();
    let pool = world.pool();
    let answer = tokio::time::timeout(Duration::from_millis(300), sqlx::query("SELECT 1").execute(&pool));
    assert!(answer.await.is_err(), "a paused server answers nothing");
    servers.postgres.resume();
    assert_eq!(wait::until(SOON, kept).await, Some(7));

    assert!(
        servers
            .rabbitmq
            .ctl(&["list_vhosts", "--silent"])
            .contains(&world.vhost)
    );

    servers.rabbitmq.stop().await;
    assert_eq!(servers.rabbitmq.pid(), None);

    drop(world);
    let servers = std::sync::Arc::into_inner(servers).expect("nobody else holds the servers");
    let postgres = servers.postgres.pid().expect("runs");
    servers.close().await;
    assert!(!directory.exists() && !alive(postgres));
    assert_eq!(processes_of(&directory), Vec::<u32>::new());
}

#[tokio::test]
async fn proxy_passes_stalls_swallows_cuts_and_refuses() {
    let world = World::new().await;
    let proxy = world.database_proxy().await;
    let url = world.database_url_via(&proxy);
    let mut connection = PgConnection::connect(&url).await.expect("connect through the proxy");
    sqlx::query("SELECT 1").execute(&mut connection).await.expect("pass");
    assert!(proxy.bytes_to_server() > 0 && proxy.bytes_to_client() > 0);
    assert_eq!(proxy.open_connections(), 1);

    proxy.stall();
    {
        let query = sqlx::query("SELECT 2").execute(&mut connection);
        tokio::pin!(query);
        assert!(
            tokio::time::timeout(Duration::from_millis(200), &mut query)
                .await
                .is_err(),
            "nothing passes"
        );
        proxy.pass();
        query.await.expect("what was stalled arrives");
    }

    proxy.cut();
    assert!(sqlx::query("SELECT 3").execute(&mut connection).await.is_err());
    wait::until(SOON, async || proxy.open_connections() == 0)
        .await
        .expect("the connection is gone");
    let mut connection = PgConnection::connect(&url).await.expect("new connections are accepted");

    proxy.refuse();
    // A connection that is made while the socket is being closed is reset instead.
    wait::until(SOON, async || {
        let refused = tokio::net::TcpStream::connect(proxy.address()).await.err();
        refused.is_some_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
    })
    .await
    .expect("refused");
    sqlx::query("SELECT 4")
        .execute(&mut connection)
        .await
        .expect("those there are stay");
    proxy.pass();
    wait::until(SOON, async || PgConnection::connect(&url).await.is_ok())
        .await
        .expect("accepted again");

    proxy.to_server(Flow::Swallow);
    let before = proxy.bytes_to_server();
    let answer = tokio::time::timeout(
        Duration::from_millis(200),
        sqlx::query("SELECT 5").execute(&mut connection),
    )
    .await;
    assert!(answer.is_err(), "no answer to what was swallowed");
    assert!(proxy.bytes_to_server() > before, "it was read");
}

#[tokio::test]
async fn proxy_resets_when_it_cuts() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("listen");
    let proxy = TcpProxy::start(listener.local_addr().expect("address")).await;
    let mut client = tokio::net::TcpStream::connect(proxy.address()).await.expect("connect");
    let (mut server, _) = listener.accept().await.expect("accept");
    client.write_all(b"hello").await.expect("write");
    let mut hello = [0; 5];
    server.read_exact(&mut hello).await.expect("read");
    proxy.cut();
    for side in [&mut client, &mut server] {
        let error = side.read(&mut hello).await.expect_err("a reset, not an end");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
}

#[tokio::test]
async fn programs_are_built_and_run() {
    let world = World::new().await;
    let help = world.producer(&["--help"]).await;
    assert_eq!(help.code, 0, "{}{}", help.stdout, help.stderr);
    let worker = world.worker(&[("DATABASE_URL", "")]).await;
    assert!(!worker.wait_exit().await.success(), "it misses a variable");
    assert!(worker.log().contains("DATABASE_URL"), "{}", worker.log());
}

/// The next test starts this binary again with only this test, and kills it.
#[tokio::test]
#[ignore = "only run by a_killed_process_leaves_nothing_behind"]
async fn victim() {
    let Some(report) = std::env::var_os("TESTKIT_VICTIM_REPORT") else {
        return;
    };
    let world = World::new().await;
    let servers = world.servers();
    let mut sleeper = servers.directory().command("sleep");
    sleeper.arg("1000");
    let sleeper = testkit::Process::spawn(servers.directory(), "sleeper", sleeper);
    let pids =
        [servers.postgres.pid(), servers.rabbitmq.pid(), Some(sleeper.pid())].map(|pid| pid.expect("runs").to_string());
    // A paused process cannot handle a signal, so it is the hardest to end.
    servers.postgres.pause();
    let draft = PathBuf::from(&report).with_extension("draft");
    std::fs::write(
        &draft,
        format!("{}\n{}\n", servers.directory().path().display(), pids.join("\n")),
    )
    .expect("report");
    std::fs::rename(draft, report).expect("report");
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_killed_process_leaves_nothing_behind() {
    if std::env::var_os("TEST_DATABASE_URL").is_some() || std::env::var_os("TEST_AMQP_URL").is_some() {
        return;
    }
    let shared = Servers::shared().await;
    let report = shared.directory().path().join("victim");
    let mut victim = Command::new(std::env::current_exe().expect("this binary"))
        .args(["--ignored", "--exact", "victim"])
        .env("TESTKIT_VICTIM_REPORT", &report)
        .stdout(Stdio::null())
        .spawn()
        .expect("start the victim");
    let text = wait::until(Duration::from_mins(2), async || std::fs::read_to_string(&report).ok())
        .await
        .expect("a report");
    let mut lines = text.lines();
    let directory = Path::new(lines.next().expect("a directory")).to_owned();
    let pids: Vec<u32> = lines.map(|pid| pid.parse().expect("a pid")).collect();
    assert!(directory.is_dir() && pids.len() == 3 && pids.iter().all(|pid| alive(*pid)));
    let epmd = processes_of(&directory);
    assert!(epmd.len() > 3, "also those that were not started directly: {epmd:?}");

    victim.kill().expect("SIGKILL");
    victim.wait().expect("reap");
    wait::until(SOON, async || !directory.exists())
        .await
        .expect("the directory goes");
    assert_eq!(processes_of(&directory), Vec::<u32>::new());
    assert!(pids.iter().all(|pid| !alive(*pid)));
    assert!(shared.postgres.pid().is_some_and(alive), "others are left alone");
}

fn alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')')
        .is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

/// All processes that name the directory in their environment or work in it.
fn processes_of(directory: &Path) -> Vec<u32> {
    let name = directory.file_name().expect("a name").to_string_lossy().into_owned();
    let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
    let pids = entries.filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        let marked = String::from_utf8_lossy(&environment).contains(&name);
        let inside = std::fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(directory));
        (marked || inside).then_some(pid)
    });
    pids.collect()
}
