//! An operation as JSON, field by field, so that the places of missing fields are known.

use serde::{
    Serialize, Serializer,
    ser::{Error as _, Impossible, SerializeStruct},
};
use serde_json::Error;
use smbench_core::workload::Operation;

use super::Gaps;

/// Appends `op` without its first and last brace and without the fields that come later; offsets
/// count from where the text begins.
pub(super) fn write(op: &Operation, out: &mut Vec<u8>) -> Result<Gaps, Error> {
    let start = out.len();
    op.serialize(Line { out, start })
}

struct Line<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
}

struct Fields<'a> {
    line: Line<'a>,
    path: Option<u32>,
    after: Option<u32>,
}

impl Fields<'_> {
    fn here(&self) -> u32 {
        let len = self.line.out.len() - self.line.start;
        u32::try_from(len).unwrap_or(u32::MAX)
    }

    fn pass(&mut self, key: &str) {
        match key {
            "path" => self.path = Some(self.here()),
            "after" => self.after = Some(self.here()),
            _ => {}
        }
    }
}

impl SerializeStruct for Fields<'_> {
    type Ok = Gaps;
    type Error = Error;

    fn serialize_field<T: ?Sized + Serialize>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        self.pass(key);
        if matches!(key, "id" | "at_us" | "client" | "after") {
            return Ok(());
        }
        let out = &mut *self.line.out;
        out.extend_from_slice(b",\"");
        out.extend_from_slice(key.as_bytes());
        out.extend_from_slice(b"\":");
        value.serialize(&mut serde_json::Serializer::new(out))
    }

    fn skip_field(&mut self, key: &'static str) -> Result<(), Error> {
        self.pass(key);
        Ok(())
    }

    fn end(self) -> Result<Gaps, Error> {
        let end = self.here();
        Ok(Gaps {
            path: self.path,
            after: self.after.unwrap_or(end),
        })
    }
}

/// What an operation is not.
macro_rules! refuse {
    ($($name:ident($($kind:ty),*) -> $ok:ty;)*) => {$(
        fn $name(self $(, _: $kind)*) -> Result<$ok, Error> {
            Err(Error::custom("an operation is a struct"))
        }
    )*};
}

type No = Impossible<Gaps, Error>;

impl<'a> Serializer for Line<'a> {
    type Ok = Gaps;
    type Error = Error;
    type SerializeSeq = No;
    type SerializeTuple = No;
    type SerializeTupleStruct = No;
    type SerializeTupleVariant = No;
    type SerializeMap = No;
    type SerializeStruct = Fields<'a>;
    type SerializeStructVariant = No;

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Fields<'a>, Error> {
        Ok(Fields {
            line: self,
            path: None,
            after: None,
        })
    }

    fn serialize_some<T: ?Sized + Serialize>(self, _: &T) -> Result<Gaps, Error> {
        self.serialize_unit()
    }

    fn serialize_newtype_struct<T: ?Sized + Serialize>(
        self,
        _: &'static str,
        _: &T,
    ) -> Result<Gaps, Error> {
        self.serialize_unit()
    }

    fn serialize_newtype_variant<T: ?Sized + Serialize>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<Gaps, Error> {
        self.serialize_unit()
    }

    refuse! {
        serialize_bool(bool) -> Gaps;
        serialize_i8(i8) -> Gaps;
        serialize_i16(i16) -> Gaps;
        serialize_i32(i32) -> Gaps;
        serialize_i64(i64) -> Gaps;
        serialize_u8(u8) -> Gaps;
        serialize_u16(u16) -> Gaps;
        serialize_u32(u32) -> Gaps;
        serialize_u64(u64) -> Gaps;
        serialize_f32(f32) -> Gaps;
        serialize_f64(f64) -> Gaps;
        serialize_char(char) -> Gaps;
        serialize_str(&str) -> Gaps;
        serialize_bytes(&[u8]) -> Gaps;
        serialize_none() -> Gaps;
        serialize_unit() -> Gaps;
        serialize_unit_struct(&'static str) -> Gaps;
        serialize_unit_variant(&'static str, u32, &'static str) -> Gaps;
        serialize_seq(Option<usize>) -> No;
        serialize_tuple(usize) -> No;
        serialize_tuple_struct(&'static str, usize) -> No;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> No;
        serialize_map(Option<usize>) -> No;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> No;
    }
}
