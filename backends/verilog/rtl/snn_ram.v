// A memory with one read and one write port. A read of the word that is being written gives the old one.
module snn_ram #(
    parameter WIDTH = 8,
    parameter DEPTH = 2,
    parameter ADDRESS = (DEPTH > 1) ? $clog2(DEPTH) : 1
) (
    input wire clk,
    input wire read,
    input wire [ADDRESS-1:0] read_address,
    output reg [WIDTH-1:0] read_data,
    input wire write,
    input wire [ADDRESS-1:0] write_address,
    input wire [WIDTH-1:0] write_data
);
    // Small memories leave the block RAM to those that need it.
    generate
        if (WIDTH * DEPTH > 1024) begin : block
            (* ram_style = "block" *) reg [WIDTH-1:0] words[0:DEPTH-1];
            always @(posedge clk) begin
                if (write) words[write_address] <= write_data;
                if (read) read_data <= words[read_address];
            end
        end else begin : logic_
            (* ram_style = "registers" *) reg [WIDTH-1:0] words[0:DEPTH-1];
            always @(posedge clk) begin
                if (write) words[write_address] <= write_data;
                if (read) read_data <= words[read_address];
            end
        end
    endgenerate
endmodule
