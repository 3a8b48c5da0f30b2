//! Who is in the demo: three projects of Langfuse.

/// A project and its PostHog key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Project {
    pub(crate) id: &'static str,
    /// The key that PostHog knows
    pub(crate) key: &'static str,
    /// The key that somebody typed into Langfuse's settings
    pub(crate) stored_key: &'static str,
    pub(crate) traces_a_day: usize,
}

pub(crate) const SHOP: Project = Project {
    id: "shop-assistant",
    key: "phc_demo_shop",
    stored_key: "phc_demo_shop",
    traces_a_day: 1200,
};

pub(crate) const SUPPORT: Project = Project {
    id: "support-bot",
    key: "phc_demo_support",
    stored_key: "phc_demo_support",
    traces_a_day: 800,
};

pub(crate) const WRONG_KEY: Project = Project {
    id: "wrong-key",
    key: "phc_demo_right",
    stored_key: "phc_demo_typo",
    traces_a_day: 400,
};

/// In the order of the tables and bars.
pub(crate) const PROJECTS: [Project; 3] = [SHOP, SUPPORT, WRONG_KEY];
