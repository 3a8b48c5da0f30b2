//! What is read: rows of Langfuse's tables, page by page.

pub mod recent;
pub mod rows;
pub mod source;
