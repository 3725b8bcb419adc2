//go:build linux && !reactor_portable

package reactor

import (
	"reflect"
	"testing"
	"unsafe"
)

// TestRecordIsSmallAndPointerFree guards the cost of an idle connection and that the garbage collector skips it.
func TestRecordIsSmallAndPointerFree(t *testing.T) {
	if n := unsafe.Sizeof(conn{}); n > 96 {
		t.Errorf("a record has %d bytes, budget 96", n)
	}
	var visit func(path string, ty reflect.Type)
	visit = func(path string, ty reflect.Type) {
		switch ty.Kind() {
		case reflect.Pointer, reflect.UnsafePointer, reflect.Slice, reflect.Map, reflect.Chan, reflect.Func, reflect.Interface, reflect.String:
			t.Errorf("%s holds a pointer", path)
		case reflect.Struct:
			for i := range ty.NumField() {
				visit(path+"."+ty.Field(i).Name, ty.Field(i).Type)
			}
		case reflect.Array:
			if ty.Len() > 0 {
				visit(path+"[]", ty.Elem())
			}
		}
	}
	visit("conn", reflect.TypeFor[conn]())
}
