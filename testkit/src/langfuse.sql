-- The tables of a Langfuse v2 database that an export can meet: columns, types, enums and indexes
-- as Langfuse v2.95 has them, with the columns around them that the service must leave alone
-- (input, output, modelParameters, ...). All indexes are here, also those that the service has no
-- use for: the planner may choose any of them. Two foreign keys are left out, so that rows can be
-- made without the rows that they lead to: traces to trace_sessions, scores to score_configs.

CREATE TYPE "ObservationType" AS ENUM ('SPAN', 'EVENT', 'GENERATION');
CREATE TYPE "ObservationLevel" AS ENUM ('DEBUG', 'DEFAULT', 'WARNING', 'ERROR');
CREATE TYPE "ScoreDataType" AS ENUM ('CATEGORICAL', 'NUMERIC', 'BOOLEAN');
CREATE TYPE "ScoreSource" AS ENUM ('ANNOTATION', 'API', 'EVAL');

CREATE TABLE organizations (
    id text PRIMARY KEY,
    name text NOT NULL,
    created_at timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP
);

CREATE TABLE projects (
    id text PRIMARY KEY,
    name text NOT NULL,
    org_id text NOT NULL REFERENCES organizations (id) ON DELETE CASCADE ON UPDATE CASCADE,
    created_at timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE INDEX projects_org_id_idx ON projects (org_id);

CREATE TABLE trace_sessions (
    id text NOT NULL,
    project_id text NOT NULL REFERENCES projects (id) ON DELETE CASCADE ON UPDATE CASCADE,
    bookmarked boolean NOT NULL DEFAULT false,
    public boolean NOT NULL DEFAULT false,
    created_at timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    PRIMARY KEY (id, project_id)
);

CREATE TABLE traces (
    id text PRIMARY KEY,
    external_id text,
    "timestamp" timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    name text,
    project_id text NOT NULL REFERENCES projects (id) ON DELETE CASCADE ON UPDATE CASCADE,
    metadata jsonb,
    user_id text,
    release text,
    version text,
    public boolean NOT NULL DEFAULT false,
    bookmarked boolean NOT NULL DEFAULT false,
    input jsonb,
    output jsonb,
    session_id text,
    tags text[] DEFAULT ARRAY[]::text[],
    created_at timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE INDEX traces_project_id_timestamp_idx ON traces (project_id, "timestamp");
CREATE INDEX traces_session_id_idx ON traces (session_id);
CREATE INDEX traces_created_at_idx ON traces (created_at);
CREATE INDEX traces_timestamp_idx ON traces ("timestamp");
CREATE INDEX traces_name_idx ON traces (name);
CREATE INDEX traces_user_id_idx ON traces (user_id);
CREATE INDEX traces_id_user_id_idx ON traces (id, user_id);
CREATE INDEX traces_tags_idx ON traces USING gin (tags);

CREATE TABLE observations (
    id text PRIMARY KEY,
    trace_id text,
    project_id text NOT NULL REFERENCES projects (id) ON DELETE CASCADE ON UPDATE CASCADE,
    type "ObservationType" NOT NULL,
    start_time timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    end_time timestamp(3),
    completion_start_time timestamp(3),
    name text,
    metadata jsonb,
    parent_observation_id text,
    level "ObservationLevel" NOT NULL DEFAULT 'DEFAULT',
    status_message text,
    version text,
    model text,
    internal_model text,
    internal_model_id text,
    "modelParameters" jsonb,
    input jsonb,
    output jsonb,
    prompt_tokens integer NOT NULL DEFAULT 0,
    completion_tokens integer NOT NULL DEFAULT 0,
    total_tokens integer NOT NULL DEFAULT 0,
    unit text,
    input_cost numeric(65, 30),
    output_cost numeric(65, 30),
    total_cost numeric(65, 30),
    calculated_input_cost numeric(65, 30),
    calculated_output_cost numeric(65, 30),
    calculated_total_cost numeric(65, 30),
    prompt_id text,
    created_at timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE INDEX observations_project_id_start_time_type_idx ON observations (project_id, start_time, type);
CREATE INDEX observations_trace_id_project_id_type_start_time_idx
    ON observations (trace_id, project_id, type, start_time);
CREATE INDEX observations_trace_id_project_id_start_time_idx ON observations (trace_id, project_id, start_time);
CREATE INDEX observations_created_at_idx ON observations (created_at);
CREATE UNIQUE INDEX observations_id_project_id_key ON observations (id, project_id);
CREATE INDEX observations_start_time_idx ON observations (start_time);
CREATE INDEX observations_type_idx ON observations (type);
CREATE INDEX observations_model_idx ON observations (model);
CREATE INDEX observations_internal_model_idx ON observations (internal_model);
CREATE INDEX observations_project_id_internal_model_start_time_unit_idx
    ON observations (project_id, internal_model, start_time, unit);
CREATE INDEX observations_prompt_id_idx ON observations (prompt_id);
CREATE INDEX observations_project_id_prompt_id_idx ON observations (project_id, prompt_id);

CREATE TABLE scores (
    id text PRIMARY KEY,
    "timestamp" timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    project_id text NOT NULL REFERENCES projects (id) ON DELETE CASCADE ON UPDATE CASCADE,
    name text NOT NULL,
    value double precision,
    string_value text,
    data_type "ScoreDataType" NOT NULL DEFAULT 'NUMERIC',
    source "ScoreSource" NOT NULL,
    author_user_id text,
    comment text,
    trace_id text NOT NULL,
    observation_id text,
    config_id text,
    queue_id text,
    created_at timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE INDEX scores_timestamp_idx ON scores ("timestamp");
CREATE INDEX scores_project_id_name_idx ON scores (project_id, name);
CREATE INDEX scores_created_at_idx ON scores (created_at);
CREATE UNIQUE INDEX scores_id_project_id_key ON scores (id, project_id);
CREATE INDEX scores_value_idx ON scores (value);
CREATE INDEX scores_source_idx ON scores (source);
CREATE INDEX scores_author_user_id_idx ON scores (author_user_id);
CREATE INDEX scores_config_id_idx ON scores (config_id);
CREATE INDEX scores_trace_id_idx ON scores USING hash (trace_id);
CREATE INDEX scores_observation_id_idx ON scores USING hash (observation_id);

CREATE TABLE models (
    id text PRIMARY KEY,
    project_id text REFERENCES projects (id) ON DELETE CASCADE ON UPDATE CASCADE,
    model_name text NOT NULL,
    match_pattern text NOT NULL,
    start_date timestamp(3),
    input_price numeric(65, 30),
    output_price numeric(65, 30),
    total_price numeric(65, 30),
    unit text,
    tokenizer_id text,
    tokenizer_config jsonb,
    created_at timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE UNIQUE INDEX models_project_id_model_name_start_date_unit_key
    ON models (project_id, model_name, start_date, unit);
CREATE INDEX models_model_name_idx ON models (model_name);

CREATE TABLE posthog_integrations (
    project_id text PRIMARY KEY REFERENCES projects (id) ON DELETE CASCADE ON UPDATE CASCADE,
    encrypted_posthog_api_key text NOT NULL,
    posthog_host_name text NOT NULL,
    last_sync_at timestamp(3),
    enabled boolean NOT NULL,
    created_at timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP
);
