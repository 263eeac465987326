"""What the fields of a header may hold."""

import msgspec

Field = msgspec.structs.FieldInfo


def value_type(field: Field) -> msgspec.inspect.Type:
    """The type of the field's value, when it has one."""
    info = msgspec.inspect.type_info(field.type)
    return info.types[0] if isinstance(info, msgspec.inspect.UnionType) else info


def base_type(field: Field) -> type:
    """str, int or bool."""
    bases = {"StrType": str, "IntType": int, "BoolType": bool}
    return bases[type(value_type(field)).__name__]


def bounds(field: Field) -> tuple[int, int]:
    number = value_type(field)
    assert isinstance(number, msgspec.inspect.IntType)
    assert number.ge is not None
    assert number.le is not None
    return number.ge, number.le


def is_optional(field: Field) -> bool:
    """Whether it may be None, which is to be left out."""
    return isinstance(msgspec.inspect.type_info(field.type), msgspec.inspect.UnionType)
