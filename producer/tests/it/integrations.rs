//! A project's key: stored as Langfuse stores it, asked for at its host, shown nowhere.

use testkit::{World, langfuse};

use crate::{KEY, PROJECT, add_project, bare_world, json};

const NEW_KEY: &str = "phc_another_key_of_the_project";

async fn stored(world: &World, project: &str) -> (String, Option<String>, bool) {
    let (host, key, enabled): (String, String, bool) = sqlx::query_as(
        "select posthog_host_name, encrypted_posthog_api_key, enabled from posthog_integrations where project_id = $1",
    )
    .bind(project)
    .fetch_one(&world.pool())
    .await
    .unwrap();
    (host, langfuse::decrypt(langfuse::ENCRYPTION_KEY, &key), enabled)
}

#[tokio::test]
async fn set_writes_what_langfuse_reads_and_shows_no_key() {
    let world = World::new().await;
    world.set("RUST_LOG", "trace");
    world.posthog.known_key(KEY);
    world.posthog.known_key(NEW_KEY);
    langfuse::add_project(&world.pool(), PROJECT, "Project One").await;
    let host = world.posthog.url();
    let set = ["integrations", "set", "--project", PROJECT];

    // By environment.
    let arguments = [&set[..], &["--host", &host]].concat();
    let output = world.producer_with_env(&arguments, &[("POSTHOG_API_KEY", KEY)]).await;
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert!(output.stdout.contains("PostHog knows the key."), "{}", output.stdout);
    assert!(!output.stdout.contains(KEY) && !output.stderr.contains(KEY));
    assert_eq!(
        stored(&world, PROJECT).await,
        (host.clone(), Some(KEY.to_owned()), true)
    );

    // `--disable` changes nothing else.
    let output = world
        .producer_with_env(&[&set[..], &["--disable"]].concat(), &[("ENCRYPTION_KEY", "")])
        .await;
    assert_eq!(output.code, 0, "it encrypts nothing: {}", output.stderr);
    let output = world.producer_with_env(&arguments, &[("ENCRYPTION_KEY", "")]).await;
    assert_eq!(output.code, 2, "{}", output.stderr);
    assert_eq!(
        stored(&world, PROJECT).await,
        (host.clone(), Some(KEY.to_owned()), false)
    );

    // By file, as an editor leaves it.
    let file = std::env::temp_dir().join(format!("key-{}", uuid::Uuid::now_v7()));
    std::fs::write(&file, format!("{NEW_KEY}\n")).unwrap();
    let output = world
        .succeeds(&[&set[..], &["--enable", "--key-file", file.to_str().unwrap()]].concat())
        .await;
    std::fs::remove_file(file).unwrap();
    assert!(!output.stdout.contains(NEW_KEY) && !output.stderr.contains(NEW_KEY));
    assert_eq!(stored(&world, PROJECT).await, (host, Some(NEW_KEY.to_owned()), true));
}

#[tokio::test]
async fn set_writes_through_a_database_of_its_own() {
    let world = World::new().await;
    langfuse::add_project(&world.pool(), PROJECT, "Project One").await;
    let host = world.posthog.url();
    let arguments = ["integrations", "set", "--project", PROJECT, "--host", &host];
    let overrides = [
        ("DATABASE_URL", ""),
        ("SETTINGS_DATABASE_URL", world.database_url.as_str()),
        ("POSTHOG_API_KEY", KEY),
    ];
    world.posthog.known_key(KEY);
    let output = world.producer_with_env(&arguments, &overrides).await;
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert_eq!(stored(&world, PROJECT).await.1.as_deref(), Some(KEY));
}

/// PostHog answers 200 to a key that it does not know, so the command asks it, once the settings
/// are stored.
#[tokio::test]
async fn set_says_whether_posthog_knows_the_key_and_stores_it_all_the_same() {
    let world = World::new().await;
    langfuse::add_project(&world.pool(), PROJECT, "Project One").await;
    let host = world.posthog.url();
    let set = ["integrations", "set", "--project", PROJECT, "--host"];
    let key = [("POSTHOG_API_KEY", KEY)];
    let output = world.producer_with_env(&[&set[..], &[&host]].concat(), &key).await;
    assert!(
        output.code == 1 && output.stdout.contains("Created") && output.stdout.contains("does NOT know the key"),
        "{}{}",
        output.stdout,
        output.stderr
    );
    assert!(!output.stdout.contains(KEY) && !output.stderr.contains(KEY));
    assert_eq!(stored(&world, PROJECT).await.1.as_deref(), Some(KEY));
    let unasked = [&set[..], &[&host, "--no-check"]].concat();
    let output = world.producer_with_env(&unasked, &key).await;
    assert!(
        output.code == 0
            && output
                .stdout
                .contains(&format!("producer integrations check --project {PROJECT}")),
        "{}",
        output.stdout
    );
    // A host that is away does not hinder the command.
    let away = [&set[..], &["http://127.0.0.1:1", "--json"]].concat();
    let output = world.producer_with_env(&away, &key).await;
    assert_eq!(output.code, 0, "{}", output.stderr);
    let report: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(
        (&report["created"], &report["check"]["result"]),
        (&false.into(), &"cannot_tell".into())
    );
    assert_eq!(stored(&world, PROJECT).await.0, "http://127.0.0.1:1");
}

#[tokio::test]
async fn set_refuses_what_could_not_work() {
    let world = World::new().await;
    langfuse::add_project(&world.pool(), PROJECT, "Project One").await;
    let host = world.posthog.url();
    let personal = "phx_personal_hunter2";
    for (project, host, key, complaint) in [
        (PROJECT, "eu.posthog.com", KEY, "https://eu.i.posthog.com"),
        (PROJECT, "http://eu.i.posthog.com", KEY, "EGRESS_ALLOW"),
        (PROJECT, "https://10.0.0.1", KEY, "EGRESS_ALLOW"),
        (
            PROJECT,
            "https://us.i.posthog.com/batch/",
            KEY,
            "write https://us.i.posthog.com",
        ),
        (PROJECT, "https://posthog.com", KEY, "https://eu.i.posthog.com"),
        (PROJECT, "https://https://eu.i.posthog.com", KEY, "twice"),
        (PROJECT, &host, personal, "project API key"),
        (PROJECT, &host, "hunter2 with spaces", "ASCII"),
        (PROJECT, &host, "sk-lf-hunter2", "does not begin with phc_"),
        (PROJECT, &host, "", "POSTHOG_API_KEY"),
        ("nobody", &host, KEY, "nobody"),
    ] {
        let arguments = ["integrations", "set", "--project", project, "--host", host];
        let output = world.producer_with_env(&arguments, &[("POSTHOG_API_KEY", key)]).await;
        let code = if project == PROJECT { 2 } else { 1 };
        assert_eq!(output.code, code, "{complaint}: {}", output.stdout);
        assert!(output.stderr.contains(complaint), "{complaint} in {}", output.stderr);
        assert!(!output.stderr.contains("hunter2"), "{}", output.stderr);
    }
    let rows: i64 = sqlx::query_scalar("select count(*) from posthog_integrations")
        .fetch_one(&world.pool())
        .await
        .unwrap();
    assert_eq!(rows, 0);
}

#[tokio::test]
async fn list_tells_what_is_usable_and_never_the_key() {
    let world = bare_world().await;
    langfuse::add_project(&world.pool(), "two", "Two").await;
    langfuse::add_integration_as_stored(&world.pool(), "two", "http://10.0.0.1", "00:11:22", false).await;
    let listed = json(&world, &["integrations", "list", "--json"]).await;
    let listed = listed["integrations"].as_array().unwrap();
    assert_eq!(
        listed[0],
        serde_json::json!({"project_id": PROJECT, "name": "Name of project one", "host": world.posthog.url(),
            "enabled": true, "decryptable": true, "problem": null, "problem_code": null})
    );
    assert_eq!(
        (&listed[1]["decryptable"], &listed[1]["enabled"]),
        (&false.into(), &false.into())
    );
    assert!(listed[1]["problem"].as_str().unwrap().contains("decrypted"));
    for (host, key, problem) in [
        ("https://us.posthog.com/project/1", KEY, "https://us.i.posthog.com"),
        ("https://eu.i.posthog.com", " \n", "is empty"),
        ("https://eu.i.posthog.com", "phx_hunter2", "personal API key"),
    ] {
        langfuse::add_integration(&world.pool(), "two", host, key, false).await;
        let listed = json(&world, &["integrations", "list", "--json"]).await;
        let said = listed["integrations"][1]["problem"].as_str().unwrap();
        assert!(said.contains(problem) && !said.contains("hunter2"), "{said}");
    }
    let text = world.succeeds(&["integrations", "list"]).await.stdout;
    assert!(text.contains(PROJECT) && !text.contains(KEY), "{text}");
}

#[tokio::test]
async fn a_host_outside_of_the_only_hosts_is_listed_and_refused() {
    let world = bare_world().await;
    langfuse::add_project(&world.pool(), "us", "Us").await;
    langfuse::add_integration(&world.pool(), "us", "https://us.posthog.com", KEY, true).await;
    let only = [("EGRESS_ONLY", "eu.i.posthog.com,127.0.0.0/8")];
    let output = world
        .producer_with_env(&["integrations", "list", "--json"], &only)
        .await;
    assert_eq!(output.code, 0, "{}", output.stderr);
    let listed: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
    let problems = |field: &str| [0, 1].map(|place| listed["integrations"][place][field].clone());
    assert_eq!(
        problems("problem_code"),
        [serde_json::Value::Null, "host_not_allowed".into()]
    );
    assert!(problems("problem")[1].as_str().unwrap().contains("EGRESS_ONLY"));

    let set = [
        "integrations",
        "set",
        "--project",
        PROJECT,
        "--host",
        "https://us.i.posthog.com",
    ];
    let (name, value) = only[0];
    let output = world
        .producer_with_env(&set, &[("POSTHOG_API_KEY", KEY), (name, value)])
        .await;
    assert_eq!(output.code, 2, "{}", output.stdout);
    assert!(output.stderr.contains("EGRESS_ONLY"), "{}", output.stderr);

    let output = world.producer_with_env(&["doctor", "--json"], &only).await;
    assert!(
        output.stdout.contains("host_not_allowed")
            && output.stdout.contains("`us.i.posthog.com` is not in EGRESS_ONLY"),
        "{}",
        output.stdout
    );
}

#[tokio::test]
async fn check_asks_the_host_and_fails_for_an_unknown_key() {
    let world = bare_world().await;
    world.posthog.known_key(KEY);
    let check = ["integrations", "check", "--json"];
    let report = json(&world, &check).await;
    assert_eq!(
        (&report["checks"][0]["project_id"], &report["checks"][0]["result"]),
        (&PROJECT.into(), &"known".into())
    );

    world.posthog.forget_key(KEY);
    let output = world.producer(&check).await;
    assert_eq!(output.code, 1);
    let report: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(report["checks"][0]["result"], "refused");
    let detail = report["checks"][0]["detail"].as_str().unwrap();
    assert!(detail.contains("Correct") && !detail.contains("requeue"), "{detail}");
    assert!(!output.stdout.contains(KEY) && !output.stderr.contains(KEY));

    // A proxy that serves capture only cannot tell; that is no failure.
    world.posthog.flags_route(false);
    assert_eq!(json(&world, &check).await["checks"][0]["result"], "cannot_tell");

    // Disabled projects are checked only when they are named.
    add_project(&world, "off", false).await;
    assert_eq!(json(&world, &check).await["checks"].as_array().unwrap().len(), 1);
    let output = world
        .producer_with_env(&["integrations", "check", "--project", "off"], &[("EGRESS_ALLOW", "")])
        .await;
    assert_eq!(output.code, 1);
    assert!(output.stdout.contains("host_not_allowed"), "{}", output.stdout);
    assert_eq!(
        world
            .producer(&["integrations", "check", "--project", "nobody"])
            .await
            .code,
        1
    );
}
