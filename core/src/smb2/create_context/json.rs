//! Create contexts in JSON: `{tag: data}`, the data typed where the tag is known, else hex digits.
//!
//! What is read from JSON is always the context of a request.

use std::fmt;

use serde::de::{self, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{ContextData, ContextTag, CreateContext, Side};
use crate::smb2::ser::{self, TextOr};

impl Serialize for CreateContext {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_key(&self.tag.to_string())?;
        self.data.serialize_value(&mut map)?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for CreateContext {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ContextVisitor)
    }
}

struct ContextVisitor;

impl ContextVisitor {
    fn value<'de, A: MapAccess<'de>, T: Deserialize<'de>>(
        map: &mut A,
        tag: &ContextTag,
        make: fn(T) -> ContextData,
    ) -> Result<ContextData, A::Error> {
        match map.next_value::<TextOr<T>>()? {
            TextOr::Other(typed) => Ok(make(typed)),
            TextOr::Text(text) => {
                let bytes = ser::from_hex(&text);
                let bytes = bytes.ok_or_else(|| de::Error::custom("not hex digits"))?;
                Ok(CreateContext::from_wire(tag.clone(), Side::Request, &bytes).data)
            }
        }
    }
}

impl<'de> Visitor<'de> for ContextVisitor {
    type Value = CreateContext;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a create context of a request: {tag: data}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<CreateContext, A::Error> {
        use ContextData as Data;
        let label: String = map
            .next_key()?
            .ok_or_else(|| de::Error::custom("a create context has a tag"))?;
        let tag = ContextTag::from_label(&label)
            .ok_or_else(|| de::Error::custom(format!("unknown create context {label}")))?;
        let map = &mut map;
        let data = match tag {
            ContextTag::DHNQ => Self::value(map, &tag, Data::DurableRequest),
            ContextTag::DHNC => Self::value(map, &tag, Data::DurableReconnect),
            ContextTag::ALSI => Self::value(map, &tag, Data::AllocationSize),
            ContextTag::MXAC => Self::value(map, &tag, Data::MaximalAccessRequest),
            ContextTag::TWRP => Self::value(map, &tag, Data::Timewarp),
            ContextTag::QFID => Self::value(map, &tag, Data::OnDiskIdRequest),
            ContextTag::RQLS => Self::value(map, &tag, Data::Lease),
            ContextTag::DH2Q => Self::value(map, &tag, Data::DurableRequestV2),
            ContextTag::DH2C => Self::value(map, &tag, Data::DurableReconnectV2),
            ContextTag::APP_INSTANCE_ID => Self::value(map, &tag, Data::AppInstanceId),
            ContextTag::APP_INSTANCE_VERSION => Self::value(map, &tag, Data::AppInstanceVersion),
            _ => {
                let text: String = map.next_value()?;
                let bytes = ser::from_hex(&text);
                let bytes = bytes.ok_or_else(|| de::Error::custom("not hex digits"))?;
                Ok(CreateContext::from_wire(tag.clone(), Side::Request, &bytes).data)
            }
        }?;
        Ok(CreateContext { tag, data })
    }
}
