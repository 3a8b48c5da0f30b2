//! Columns that hold one of a few words. A word that this program does not know is an error that
//! names the column; the program does not guess.

use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo, PgValueRef, Postgres};
use sqlx::{Decode, Encode, Type};

use super::arrivals::Verdict;
use super::audit::DeedState;
use super::state::State;
use crate::job::Stream;

/// Written by hand instead of derived. So the words stand only in `as_str`, and the column's type
/// is plain `text`, which sqlx need not look up on each new connection.
macro_rules! word_column {
    ($word:ty) => {
        impl Type<Postgres> for $word {
            fn type_info() -> PgTypeInfo {
                <str as Type<Postgres>>::type_info()
            }

            fn compatible(column: &PgTypeInfo) -> bool {
                <str as Type<Postgres>>::compatible(column)
            }
        }

        impl PgHasArrayType for $word {
            fn array_type_info() -> PgTypeInfo {
                <String as PgHasArrayType>::array_type_info()
            }

            fn array_compatible(column: &PgTypeInfo) -> bool {
                <String as PgHasArrayType>::array_compatible(column)
            }
        }

        impl Encode<'_, Postgres> for $word {
            fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
                <&str as Encode<'_, Postgres>>::encode(self.as_str(), buffer)
            }
        }

        impl<'r> Decode<'r, Postgres> for $word {
            fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
                Ok(<&str as Decode<'r, Postgres>>::decode(value)?.parse()?)
            }
        }
    };
}

word_column!(DeedState);
word_column!(State);
word_column!(Stream);
word_column!(Verdict);
