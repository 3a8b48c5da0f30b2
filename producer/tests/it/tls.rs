//! TLS: certificates are verified, a private authority is trusted when it is named, and a port
//! without TLS is refused.

use std::net::TcpListener;
use std::sync::Arc;

use testkit::tls::{Authority, ServerIdentity, front};
use testkit::{JOBS, Project, Servers, World, lines};

use crate::{KEY, PROJECT, add_project, add_traces, json, world, yesterday};

fn text(path: &std::path::Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// Gives the database server its certificate, as its own user, and switches TLS on.
async fn postgres_with_tls(world: &World, identity: &ServerIdentity) {
    for (path, name) in [(&identity.certificate, "server.crt"), (&identity.key, "server.key")] {
        let pem = std::fs::read_to_string(path).unwrap().replace("\r\n", "\n");
        let write = format!(
            "copy (select unnest(string_to_array('{}', E'\\n'))) to program 'cat > {name} && chmod 600 {name}'",
            pem.trim()
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(write))
            .execute(&world.pool())
            .await
            .unwrap();
    }
    for statement in ["alter system set ssl = on", "select pg_reload_conf()"] {
        sqlx::raw_sql(statement).execute(&world.pool()).await.unwrap();
    }
}

#[tokio::test]
async fn the_line_runs_with_verified_servers_and_refuses_the_others() {
    let directory = std::env::temp_dir().join(format!("tls-{}", uuid::Uuid::now_v7()));
    std::fs::create_dir(&directory).unwrap();
    let (ours, other) = (Authority::new(&directory, "ours"), Authority::new(&directory, "other"));
    let identity = ours.identity("127.0.0.1");
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let configuration = format!(
        "listeners.ssl.1 = 127.0.0.1:{port}\nssl_options.cacertfile = {}\nssl_options.certfile = {}\nssl_options.keyfile = {}",
        text(&ours.ca),
        text(&identity.certificate),
        text(&identity.key)
    );
    let servers = Arc::new(Servers::start_with(&configuration).await);
    let world = Arc::new(World::on(servers).await);
    world.set("EXPORT_LAG", "0s");
    add_project(&world, PROJECT, true).await;
    add_traces(&world, PROJECT, &[yesterday()]).await;
    postgres_with_tls(&world, &identity).await;
    world.posthog.known_key(KEY);

    let plain_port = world.servers().rabbitmq.address().port();
    let amqps = world
        .amqp_url
        .replace("amqp://", "amqps://")
        .replace(&format!(":{plain_port}"), &format!(":{port}"));
    let (ca, wrong) = (text(&ours.ca), text(&other.ca));
    let all = [
        ("AMQP_URL", amqps.as_str()),
        ("AMQP_CA_FILE", &ca),
        ("DATABASE_CA_FILE", &ca),
    ];
    let run = async |arguments: &[&str], overrides: &[(&str, &str)]| {
        world
            .producer_with_env(arguments, &[&all[..], overrides].concat())
            .await
    };
    let output = run(&["enqueue"], &[]).await;
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert_eq!(world.queue_depth(JOBS).await, 1);
    let _worker = world.ready_worker(&all).await;
    Project::of(&world, PROJECT, KEY)
        .wait_state(yesterday(), "daily", "completed")
        .await;
    let encrypted: i64 = sqlx::query_scalar(
        "select count(*) from pg_stat_ssl join pg_stat_activity using (pid) where ssl and datname = current_database()",
    )
    .fetch_one(&world.pool())
    .await
    .unwrap();
    assert!(encrypted > 0, "the worker's connections to Postgres are not encrypted");

    // Both certificates are for 127.0.0.1, and `localhost` is another name for the same servers.
    let by_name = |url: &str| url.replace("127.0.0.1", "localhost");
    let (amqps_by_name, database_by_name) = (by_name(&amqps), by_name(&world.database_url));
    for (overrides, parts) in [
        (
            vec![("AMQP_URL", amqps_by_name.as_str())],
            ["AMQP_URL: ", "not valid for name"],
        ),
        (
            vec![("DATABASE_URL", database_by_name.as_str())],
            ["DATABASE_URL: ", "not valid for name"],
        ),
        // With another authority, or without one, the certificate is not trusted.
        (vec![("AMQP_CA_FILE", wrong.as_str())], ["AMQP_URL: ", "AMQP_CA_FILE"]),
        (vec![("AMQP_CA_FILE", "")], ["AMQP_URL: ", "AMQP_CA_FILE"]),
        (
            vec![("DATABASE_CA_FILE", wrong.as_str())],
            ["DATABASE_URL: ", "certificate"],
        ),
        (
            vec![("AMQP_CA_FILE", "/nowhere.pem")],
            ["AMQP_CA_FILE: ", "/nowhere.pem"],
        ),
    ] {
        let output = run(&["enqueue"], &overrides).await;
        assert_ne!(output.code, 0, "{overrides:?}");
        for part in parts {
            assert!(output.stderr.contains(part), "{part} in {}", output.stderr);
        }
    }
    // Postgres, too, verifies by the URL alone.
    let by_url = |ca: &str| format!("{}?sslmode=verify-full&sslrootcert={ca}", world.database_url);
    for (url, code) in [(by_url(&ca), 0), (by_url(&wrong), 1)] {
        let output = run(&["status"], &[("DATABASE_CA_FILE", ""), ("DATABASE_URL", &url)]).await;
        assert_eq!(output.code, code, "{}", output.stderr);
    }
    std::fs::remove_dir_all(directory).unwrap();
}

#[tokio::test]
async fn amqps_at_a_plain_port_is_refused() {
    let world = world().await;
    let url = world.amqp_url.replace("amqp://", "amqps://");
    let output = world
        .producer_with_env(&["dead-letters", "list"], &[("AMQP_URL", &url)])
        .await;
    assert_eq!(output.code, 1);
    assert!(
        output.stderr.contains("no TLS") && output.stderr.contains("5671"),
        "{}",
        output.stderr
    );
    // The worker neither consumes nor ends: it says why, and tries again.
    let worker = world.worker(&[("AMQP_URL", &url)]).await;
    worker.wait_log(lines::NO_TLS).await;
    assert!(!worker.log().contains(lines::CONSUMING), "{}", worker.log());
}

#[tokio::test]
async fn a_private_posthog_is_trusted_by_its_authority() {
    let directory = std::env::temp_dir().join(format!("tls-{}", uuid::Uuid::now_v7()));
    std::fs::create_dir(&directory).unwrap();
    let ours = Authority::new(&directory, "ours");
    let world = world().await;
    world.posthog.known_key(KEY);
    let address = front(ours.identity("127.0.0.1").config, world.posthog.address()).await;
    testkit::langfuse::add_integration(&world.pool(), PROJECT, &format!("https://{address}"), KEY, true).await;
    let check = ["integrations", "check", "--json"];
    let ca = text(&ours.ca);
    let output = world.producer_with_env(&check, &[("POSTHOG_CA_FILE", &ca)]).await;
    assert!(
        output.stdout.contains("\"known\""),
        "{}{}",
        output.stdout,
        output.stderr
    );
    let report = json(&world, &check).await;
    assert_eq!(report["checks"][0]["result"], "cannot_tell");
    let detail = report["checks"][0]["detail"].as_str().unwrap().to_lowercase();
    assert!(detail.contains("certificate"), "{detail}");
    std::fs::remove_dir_all(directory).unwrap();
}
